//! The mount options: what `-o` understands, and what is said of what it does not.

use std::path::Path;
use std::time::Duration;

/// How long the kernel may keep names and attributes of a tree that does not change: for ever, in practice.
const UNCHANGING: Duration = Duration::from_secs(u32::MAX as u64);

/// The longest timeout that `-o` takes, in seconds: what fits the kernel's arithmetic with room to spare.
const LONGEST_TIMEOUT: f64 = u32::MAX as f64;

/// The options in the order in which an error lists them.
const KNOWN: &str = "allow_other, allow_root, default_permissions, uid=N, gid=N, umask=OCTAL, fsname=NAME, \
    subtype=NAME, attr_timeout=SECONDS, entry_timeout=SECONDS, negative_timeout=SECONDS, max_read=BYTES, direct_io, \
    ro, rw, exec, noexec, noatime; and, because they are always so here: nosuid, nodev, nonempty, kernel_cache, \
    auto_cache, use_ino, readdir_ino";

/// How a tree is presented, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// All users may use the mount, and the kernel checks the guest's permissions for them.
    pub allow_other: bool,
    /// Root may use the mount as well as the user who mounts. Others see that there is a mount, and no name in it.
    pub allow_root: bool,
    /// The kernel checks the guest's permissions, modes and ACLs, for everybody. Implied by `allow_other`.
    pub default_permissions: bool,
    /// Present every node as owned by this user.
    pub uid: Option<u32>,
    /// Present every node as belonging to this group.
    pub gid: Option<u32>,
    /// Permission bits that are not shown.
    pub umask: u16,
    /// What the first column of the table of mounts says, for example the image's path.
    pub fsname: Option<String>,
    /// The part after `fuse.` of the type in the table of mounts.
    pub subtype: String,
    /// How long the kernel keeps attributes.
    pub attr_timeout: Duration,
    /// How long the kernel keeps names.
    pub entry_timeout: Duration,
    /// How long the kernel keeps the knowledge that a name does not exist.
    pub negative_timeout: Duration,
    /// The largest read request in bytes, where the user limits it.
    pub max_read: Option<u32>,
    /// Read past the kernel's page cache.
    pub direct_io: bool,
    /// Programs of the guest cannot be run from the mount.
    pub noexec: bool,
    /// The mount has the flag `noatime`. Times of access never change either way.
    pub noatime: bool,
    /// Whose new nodes are, user and group. Without it the caller's where the guest's permissions hold, else root's.
    pub owner: Option<(u32, u32)>,
    /// A new node gets the SELinux label of its directory, where that has one.
    pub selinux_inherit: bool,
    /// Reads wait for a server, so that more threads than cores have something to do.
    pub waits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_other: false,
            allow_root: false,
            default_permissions: false,
            uid: None,
            gid: None,
            umask: 0,
            fsname: None,
            subtype: super::SUBTYPE.into(),
            attr_timeout: UNCHANGING,
            entry_timeout: UNCHANGING,
            negative_timeout: UNCHANGING,
            max_read: None,
            direct_io: false,
            noexec: false,
            noatime: false,
            owner: None,
            selinux_inherit: true,
            waits: false,
        }
    }
}

impl Options {
    /// Takes the argument of one `-o`: options separated by commas, a backslash in front of a comma or a backslash
    /// that belongs to a value. The error is one line.
    pub fn add(&mut self, list: &str) -> Result<(), String> {
        for option in split(list) {
            self.add_one(&option)?;
        }
        Ok(())
    }

    /// The text of `--fuse-help`.
    pub fn help() -> String {
        format!("The options that -o takes, one or several separated by commas:\n{KNOWN}\n")
    }

    /// Sets all three timeouts: guestmount's `--dir-cache-timeout`.
    pub fn set_timeout(&mut self, timeout: Duration) {
        let timeout = timeout.min(UNCHANGING);
        self.attr_timeout = timeout;
        self.entry_timeout = timeout;
        self.negative_timeout = timeout;
    }

    /// Sets `fsname` to the path of an image.
    pub fn set_source(&mut self, image: &Path) {
        self.fsname = Some(image.to_string_lossy().into_owned());
    }

    /// Whether the guest's permissions hold, for everybody.
    pub fn checks_permissions(&self) -> bool {
        self.default_permissions || self.allow_other
    }

    /// Whether everybody but root and the user who mounts is to be turned away, and the kernel does not do it: it knows
    /// no `allow_root`, only `allow_other`.
    pub fn shuts_out_others(&self) -> bool {
        self.allow_root && !self.allow_other
    }

    fn add_one(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let flag = |value: bool| match &option.split_once('=') {
            Some(_) => Err(format!("-o {name} takes no value")),
            None => Ok(value),
        };
        let wanted = || value.filter(|v| !v.is_empty()).ok_or_else(|| format!("-o {name} needs a value: {name}=..."));
        match name {
            "allow_other" => self.allow_other = flag(true)?,
            "allow_root" => self.allow_root = flag(true)?,
            "default_permissions" => self.default_permissions = flag(true)?,
            "uid" => self.uid = Some(number(name, wanted()?)?),
            "gid" => self.gid = Some(number(name, wanted()?)?),
            "umask" => {
                let value = wanted()?;
                self.umask = u16::from_str_radix(value, 8)
                    .ok()
                    .filter(|mask| *mask <= 0o777)
                    .ok_or_else(|| format!("-o umask={value}: want three octal digits, for example 022"))?;
            }
            "fsname" => self.fsname = Some(wanted()?.into()),
            "subtype" => {
                let value = wanted()?;
                if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
                    return Err(format!("-o subtype={value}: want letters, digits, '_', '-' and '.' only"));
                }
                self.subtype = value.into();
            }
            "attr_timeout" => self.attr_timeout = seconds(name, wanted()?)?,
            "entry_timeout" => self.entry_timeout = seconds(name, wanted()?)?,
            "negative_timeout" => self.negative_timeout = seconds(name, wanted()?)?,
            "max_read" => {
                let bytes: u32 = number(name, wanted()?)?;
                // The kernel raises anything below one page to one page.
                if bytes < 4096 {
                    return Err(format!("-o max_read={bytes}: want at least 4096 bytes"));
                }
                self.max_read = Some(bytes);
            }
            "direct_io" => self.direct_io = flag(true)?,
            "exec" => self.noexec = flag(false)?,
            "noexec" => self.noexec = flag(true)?,
            "noatime" => self.noatime = flag(true)?,
            // Said by --ro and --rw as well, and by -m; whoever mounts has looked for it.
            "ro" | "rw" => {
                flag(true)?;
            }
            // True of every mount that this program makes.
            "nosuid" | "nodev" | "nonempty" | "kernel_cache" | "auto_cache" | "use_ino" | "readdir_ino" => {
                flag(true)?;
            }
            "suid" | "dev" => {
                return Err(format!("-o {name}: a guest's set-user-id programs and device nodes never work here"));
            }
            "auto_unmount" => {
                return Err("-o auto_unmount: not needed; the program unmounts when it is told to end".into());
            }
            _ => return Err(format!("-o {name}: no such option; there are {KNOWN}")),
        }
        Ok(())
    }
}

fn number(name: &str, value: &str) -> Result<u32, String> {
    // -1 is no user: the kernel refuses it.
    value.parse().ok().filter(|n| *n != u32::MAX).ok_or_else(|| format!("-o {name}={value}: want a number"))
}

fn seconds(name: &str, value: &str) -> Result<Duration, String> {
    match value.parse::<f64>() {
        Ok(s) if s >= 0.0 => Ok(Duration::from_secs_f64(s.min(LONGEST_TIMEOUT))),
        _ => Err(format!("-o {name}={value}: want seconds, for example 60 or 0.5")),
    }
}

/// The parts of a comma list, unescaped; empty parts are left out.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        let part = parts.last_mut().expect("there is always a last part");
        match c {
            '\\' => part.extend(chars.next()),
            ',' => parts.push(String::new()),
            other => part.push(other),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lists: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        for list in lists {
            options.add(list)?;
        }
        Ok(options)
    }

    #[test]
    fn lists_and_repeats_add_up() {
        let options = parse(&["allow_other,uid=1000", "gid=7,,umask=027", "fsname=a\\,b\\\\c", "ro,nonempty"]).unwrap();
        assert!(options.allow_other && !options.allow_root);
        assert_eq!((options.uid, options.gid, options.umask), (Some(1000), Some(7), 0o027));
        assert_eq!(options.fsname.as_deref(), Some("a,b\\c"));
    }

    #[test]
    fn timeouts() {
        let mut options = parse(&["attr_timeout=1.5,entry_timeout=0,negative_timeout=1e300"]).unwrap();
        assert_eq!(options.attr_timeout, Duration::from_millis(1500));
        assert_eq!(options.entry_timeout, Duration::ZERO);
        assert_eq!(options.negative_timeout, UNCHANGING);
        options.set_timeout(Duration::from_secs(60));
        assert_eq!(
            [options.attr_timeout, options.entry_timeout, options.negative_timeout],
            [Duration::from_secs(60); 3]
        );
    }

    #[test]
    fn wrong_options_are_one_clear_line() {
        for (list, part) in [
            ("suid", "never work"),
            ("dev", "never work"),
            ("frobnicate", "no such option; there are allow_other"),
            ("uid", "needs a value"),
            ("uid=", "needs a value"),
            ("uid=root", "want a number"),
            ("gid=4294967295", "want a number"),
            ("umask=8", "octal"),
            ("umask=7777", "octal"),
            ("allow_other=1", "takes no value"),
            ("attr_timeout=-1", "want seconds"),
            ("attr_timeout=NaN", "want seconds"),
            ("max_read=5", "at least 4096"),
            ("subtype=a b", "letters"),
        ] {
            let error = parse(&[list]).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{list}: {error}");
        }
    }
}
