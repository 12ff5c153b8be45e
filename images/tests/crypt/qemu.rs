//! LUKS1, encrypted by qemu-img, which knows the ciphers that no kernel is needed for here.

use std::fs;

use super::{assert_holds, file, pattern, run, unlock};

#[test]
fn ciphers_modes_and_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, luks) = (folder.path().join("raw"), folder.path().join("luks"));
    let content = pattern(300 << 10);
    fs::write(&raw, &content).unwrap();
    let cases = [
        "cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256",
        "cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain,hash-alg=sha1",
        "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha512",
        "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain,hash-alg=ripemd160",
        "cipher-alg=serpent-128,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha224",
        "cipher-alg=serpent-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha384",
        "cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha256",
        "cipher-alg=twofish-128,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256",
        "cipher-alg=twofish-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256",
        "cipher-alg=twofish-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1",
    ];
    for options in cases {
        let options = format!("key-secret=s,iter-time=1,{options}");
        let arguments = ["convert", "--object", "secret,id=s,data=pass", "-f", "raw", "-O", "luks", "-o", &options];
        run("qemu-img", &[&arguments, &[raw.to_str().unwrap(), luks.to_str().unwrap()][..]].concat());
        assert_holds(&luks, &content, &options);
    }
    assert!(unlock(file(&luks), None, b"wrong").unwrap().is_none());
}
