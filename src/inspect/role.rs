//! What a file system is for in its guest: guestmount's rules as one table, the first that holds wins.

use super::tree::Tree;

/// What a file system is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The root of an operating system.
    Root(System),
    /// A separate `/usr` of such a system.
    Usr(System),
    /// Something else that is known: `/boot`, `/var`, a data volume.
    Other,
}

/// The kind of operating system, as guestmount and virt-inspector spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Any Linux distribution.
    Linux,
    /// Container Linux, whose `/usr` is a volume of its own.
    CoreOs,
    /// FreeBSD.
    FreeBsd,
    /// NetBSD.
    NetBsd,
    /// OpenBSD.
    OpenBsd,
    /// GNU Hurd.
    Hurd,
    /// Minix.
    Minix,
    /// Windows NT and its successors.
    Windows,
    /// FreeDOS and MS-DOS.
    Dos,
}

impl System {
    /// The name that virt-inspector prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux | Self::CoreOs => "linux",
            Self::FreeBsd => "freebsd",
            Self::NetBsd => "netbsd",
            Self::OpenBsd => "openbsd",
            Self::Hurd => "hurd",
            Self::Minix => "minix",
            Self::Windows => "windows",
            Self::Dos => "dos",
        }
    }
}

/// One condition on a tree.
enum Is {
    /// These are all directories.
    Dirs(&'static [&'static str]),
    /// These are all regular files.
    Files(&'static [&'static str]),
    /// One of these is a regular file.
    AnyFile(&'static [&'static str]),
    /// Neither a file nor a directory.
    Absent(&'static str),
    /// A directory, or a link to `usr/bin`, relative or absolute: `/usr` may be a volume of its own.
    Bin,
}

impl Is {
    fn holds(&self, tree: &Tree<'_>) -> bool {
        match self {
            Self::Dirs(paths) => paths.iter().all(|path| tree.is_dir(path)),
            Self::Files(paths) => paths.iter().all(|path| tree.is_file(path)),
            Self::AnyFile(paths) => paths.iter().any(|path| tree.is_file(path)),
            Self::Absent(path) => tree.kind(path).is_none(),
            Self::Bin => {
                let link = tree.link("/bin");
                matches!(link.as_deref(), Some(b"usr/bin" | b"/usr/bin" | b"usr/bin/" | b"/usr/bin/"))
                    || tree.is_dir("/bin")
            }
        }
    }
}

/// The rules in guestmount's order.
const RULES: &[(Role, &[Is])] = &[
    (Role::Other, &[Is::AnyFile(&["/grub/menu.lst", "/grub/grub.conf", "/grub2/grub.cfg"])]),
    (
        Role::Root(System::FreeBsd),
        &[Is::Dirs(&["/etc", "/bin"]), Is::Files(&["/etc/freebsd-update.conf", "/etc/fstab"])],
    ),
    (Role::Root(System::NetBsd), &[Is::Dirs(&["/etc", "/bin"]), Is::Files(&["/netbsd", "/etc/fstab", "/etc/release"])]),
    (Role::Root(System::OpenBsd), &[Is::Dirs(&["/etc", "/bin"]), Is::Files(&["/bsd", "/etc/fstab", "/etc/motd"])]),
    (Role::Root(System::Hurd), &[Is::Files(&["/hurd/console", "/hurd/hello", "/hurd/null"])]),
    (Role::Root(System::Minix), &[Is::Files(&["/service/vm", "/etc/fstab", "/etc/version"])]),
    (Role::Root(System::Linux), &[Is::Dirs(&["/etc"]), Is::Bin, Is::AnyFile(&["/etc/fstab", "/etc/hosts"])]),
    (
        Role::Root(System::CoreOs),
        &[Is::Dirs(&["/etc", "/root", "/home", "/usr"]), Is::Files(&["/etc/coreos/update.conf"])],
    ),
    (Role::Other, &[Is::Dirs(&["/etc", "/bin", "/share"]), Is::Absent("/local"), Is::Absent("/etc/fstab")]),
    (Role::Usr(System::Linux), &[Is::Dirs(&["/bin", "/local", "/share", "/src"]), Is::Absent("/etc/fstab")]),
    (Role::Usr(System::CoreOs), &[Is::Dirs(&["/bin", "/share", "/local", "/share/coreos"])]),
    (Role::Other, &[Is::Dirs(&["/log", "/run", "/spool"])]),
    (
        Role::Root(System::Windows),
        &[Is::Dirs(&["/windows/system32/config"]), Is::Files(&["/windows/system32/cmd.exe"])],
    ),
    (Role::Root(System::Windows), &[Is::Dirs(&["/winnt/system32/config"]), Is::Files(&["/winnt/system32/cmd.exe"])]),
    (Role::Root(System::Windows), &[Is::Dirs(&["/win32/system32/config"]), Is::Files(&["/win32/system32/cmd.exe"])]),
    (Role::Root(System::Windows), &[Is::Dirs(&["/win/system32/config"]), Is::Files(&["/win/system32/cmd.exe"])]),
    (
        Role::Root(System::Windows),
        &[Is::Dirs(&["/reactos/system32/config"]), Is::Files(&["/reactos/system32/cmd.exe"])],
    ),
    (Role::Other, &[Is::Dirs(&["/System Volume Information"])]),
    (Role::Root(System::Dos), &[Is::Files(&["/FDOS/FREEDOS.BSS"])]),
    (Role::Root(System::Dos), &[Is::Files(&["/DOS/COMMAND.COM"])]),
];

/// What the tree is for, if a rule knows it.
pub fn role(tree: &Tree<'_>) -> Option<Role> {
    RULES.iter().find(|(_, all)| all.iter().all(|is| is.holds(tree))).map(|(role, _)| *role)
}
