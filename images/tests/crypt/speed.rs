//! How fast a volume is read, for a person to look at: `cargo test --release -p images --test crypt -- --ignored --nocapture`.

use std::time::Instant;

use super::{SECRET, memory, pattern, unlock};

#[test]
#[ignore = "a figure, not a check"]
#[allow(clippy::print_stdout)]
fn sequential() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("volume"), folder.path().join("key"));
    std::fs::write(&key, SECRET).unwrap();
    for sector in ["512", "4096"] {
        std::fs::write(&path, pattern(256 << 20)).unwrap();
        let (path_text, key) = (path.to_str().unwrap(), key.to_str().unwrap());
        let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--sector-size", sector];
        let fixed = ["luksFormat", "--batch-mode", "--disable-locks", "--type", "luks2", "--key-file", key, path_text];
        super::run("cryptsetup", "cryptsetup-bin", &[&fixed[..], &cheap].concat());
        let disk = unlock(memory(std::fs::read(&path).unwrap()), None, SECRET).unwrap().unwrap();
        for chunk in [4096, 131_072, 1 << 20] {
            let mut buf = vec![0; chunk];
            let since = Instant::now();
            let mut at = 0;
            while at + chunk as u64 <= disk.size() {
                disk.read_at(&mut buf, at).unwrap();
                at += chunk as u64;
            }
            let rate = at as f64 / since.elapsed().as_secs_f64() / f64::from(1 << 20);
            println!("aes-xts-plain64, 512-bit key, {sector}-byte sectors, reads of {chunk}: {rate:.0} MiB/s");
        }
    }
}
