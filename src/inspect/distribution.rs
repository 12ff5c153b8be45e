//! Which distribution a Linux tree is: os-release first, then what systems wrote before it existed.

use std::collections::HashMap;

use super::tree::Tree;

/// What the guest says of itself. Names are spelled as virt-inspector spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `debian`, `fedora`, `rhel`; an unknown `ID` of os-release stands as it is.
    pub id: Option<String>,
    /// The full name, for people: `Debian GNU/Linux 12 (bookworm)`.
    pub product_name: Option<String>,
    /// The version's numbers, 0 where there is none.
    pub version: (u32, u32),
    /// os-release's `BUILD_ID`.
    pub build_id: Option<String>,
    /// os-release's `VARIANT_ID` or, for want of it, nothing.
    pub variant: Option<String>,
    /// os-release's `ID_LIKE`, to find the package manager of a distribution that is not known.
    like: Vec<String>,
}

impl Distribution {
    /// Reads what the tree says of itself.
    pub fn of(tree: &Tree<'_>) -> Self {
        let modern = os_release(tree);
        let old = || lsb_release(tree).or_else(|| release_file(tree));
        match modern {
            // These write only the major version into os-release.
            Some(found) if needs_more(&found) => {
                let Some(old) = old().filter(|old| old.id == found.id) else { return found };
                let version =
                    if old.version.0 == found.version.0 || found.version.0 == 0 { old.version } else { found.version };
                Self { version, ..found }
            }
            Some(found) => found,
            None => old().unwrap_or_default(),
        }
    }

    /// The format of its packages: `deb`, `rpm`.
    pub fn package_format(&self) -> Option<&'static str> {
        self.family(|id| {
            Some(match id {
                "fedora" | "rhel" | "centos" | "circle" | "rocky" | "almalinux" | "amzn" | "scientificlinux"
                | "oraclelinux" | "redhat-based" | "mageia" | "mandriva" | "openmandriva" | "meego" | "sles"
                | "opensuse" | "suse-based" | "altlinux" | "opencloudos" | "tencentos" | "openEuler" | "pldlinux"
                | "suse" => "rpm",
                "debian" | "ubuntu" | "linuxmint" | "kalilinux" | "raspbian" | "neokylin" | "uos" => "deb",
                "archlinux" | "frugalware" => "pacman",
                "gentoo" => "ebuild",
                "pardus" => "pisi",
                "alpinelinux" => "apk",
                "voidlinux" => "xbps",
                _ => return None,
            })
        })
    }

    /// The program that installs its packages: `apt`, `dnf`.
    pub fn package_management(&self, tree: &Tree<'_>) -> Option<&'static str> {
        let major = self.version.0;
        self.family(|id| {
            Some(match id {
                "fedora" if major >= 22 || tree.is_file("/usr/bin/dnf") => "dnf",
                "fedora" | "meego" => "yum",
                "rhel" | "centos" | "circle" | "rocky" | "almalinux" | "scientificlinux" | "oraclelinux"
                | "redhat-based" | "opencloudos" | "tencentos" | "openEuler" | "amzn" => match major {
                    8.. => "dnf",
                    5.. => "yum",
                    2.. => "up2date",
                    _ => return None,
                },
                "debian" | "ubuntu" | "linuxmint" | "kalilinux" | "raspbian" | "altlinux" | "neokylin" | "uos" => "apt",
                "sles" | "opensuse" | "suse-based" | "suse" => "zypper",
                "mageia" | "mandriva" => "urpmi",
                "openmandriva" => "dnf",
                "archlinux" | "frugalware" => "pacman",
                "gentoo" => "portage",
                "pardus" => "pisi",
                "alpinelinux" => "apk",
                "voidlinux" => "xbps",
                _ => return None,
            })
        })
    }

    /// The first answer of its own id and of those that it is like.
    fn family(&self, answer: impl Fn(&str) -> Option<&'static str>) -> Option<&'static str> {
        self.id.iter().chain(&self.like).find_map(|id| answer(id))
    }
}

/// The ids of os-release for which guestmount has another spelling.
fn spelled(id: &str) -> String {
    let name = match id {
        "alpine" => "alpinelinux",
        "arch" | "archarm" | "archlinux" => "archlinux",
        "kali" => "kalilinux",
        "void" => "voidlinux",
        "ol" => "oraclelinux",
        "pld" => "pldlinux",
        "scientific" => "scientificlinux",
        "sled" | "sles_sap" => "sles",
        id if id.starts_with("opensuse") => "opensuse",
        id => id,
    };
    name.to_owned()
}

fn needs_more(found: &Distribution) -> bool {
    let Some(id) = found.id.as_deref() else { return true };
    let coarse = matches!(id, "debian" | "centos" | "circle" | "rocky") && found.version.1 == 0;
    let missing = found.version == (0, 0) && !matches!(id, "archlinux" | "gentoo" | "voidlinux");
    coarse || missing
}

/// <https://www.freedesktop.org/software/systemd/man/latest/os-release.html>
fn os_release(tree: &Tree<'_>) -> Option<Distribution> {
    let text = tree.text("/etc/os-release").or_else(|| tree.text("/usr/lib/os-release"))?;
    let mut values = assignments(&text);
    let id = values.remove("ID")?;
    let like = values.remove("ID_LIKE").unwrap_or_default();
    Some(Distribution {
        id: Some(spelled(&id)),
        product_name: values.remove("PRETTY_NAME").or_else(|| values.remove("NAME")),
        version: values.get("VERSION_ID").map(|text| version(text)).unwrap_or_default(),
        build_id: values.remove("BUILD_ID"),
        variant: values.remove("VARIANT_ID"),
        like: like.split_whitespace().map(spelled).collect(),
    })
}

fn lsb_release(tree: &Tree<'_>) -> Option<Distribution> {
    let text = tree.text("/etc/lsb-release")?;
    let mut values = assignments(&text);
    let id = match values.remove("DISTRIB_ID")?.as_str() {
        "Ubuntu" => "ubuntu",
        "LinuxMint" => "linuxmint",
        "Mageia" => "mageia",
        "CoreOS" => "coreos",
        _ => return None,
    };
    Some(Distribution {
        id: Some(id.to_owned()),
        product_name: values.remove("DISTRIB_DESCRIPTION"),
        version: values.get("DISTRIB_RELEASE").map(|text| version(text)).unwrap_or_default(),
        ..Distribution::default()
    })
}

/// Files whose presence, or whose first line, names a distribution; the more special ones first.
const RELEASE_FILES: &[(&str, &[(&str, &str)])] = &[
    ("/etc/openmandriva-release", &[("", "openmandriva")]),
    ("/etc/opencloudos-release", &[("", "opencloudos")]),
    ("/etc/tencentos-release", &[("", "tencentos")]),
    ("/etc/oracle-release", &[("", "oraclelinux")]),
    ("/etc/centos-release", &[("", "centos")]),
    ("/etc/circle-release", &[("", "circle")]),
    ("/etc/rocky-release", &[("", "rocky")]),
    ("/etc/almalinux-release", &[("", "almalinux")]),
    ("/etc/altlinux-release", &[("", "altlinux")]),
    (
        "/etc/redhat-release",
        &[
            ("Fedora", "fedora"),
            ("Red Hat Enterprise Linux", "rhel"),
            ("CentOS", "centos"),
            ("Circle Linux", "circle"),
            ("Rocky Linux", "rocky"),
            ("AlmaLinux", "almalinux"),
            ("Scientific Linux", "scientificlinux"),
            ("", "redhat-based"),
        ],
    ),
    ("/etc/debian_version", &[("", "debian")]),
    ("/etc/pardus-release", &[("", "pardus")]),
    ("/etc/arch-release", &[("", "archlinux")]),
    ("/etc/gentoo-release", &[("", "gentoo")]),
    ("/etc/meego-release", &[("", "meego")]),
    ("/etc/slackware-version", &[("", "slackware")]),
    ("/etc/ttylinux-target", &[("", "ttylinux")]),
    ("/etc/SuSE-release", &[("openSUSE", "opensuse"), ("SUSE Linux Enterprise", "sles"), ("", "suse-based")]),
    ("/etc/cirros/version", &[("", "cirros")]),
    ("/etc/br-version", &[("", "buildroot")]),
    ("/etc/alpine-release", &[("", "alpinelinux")]),
    ("/etc/frugalware-release", &[("", "frugalware")]),
    ("/etc/pld-release", &[("", "pldlinux")]),
];

fn release_file(tree: &Tree<'_>) -> Option<Distribution> {
    RELEASE_FILES.iter().find_map(|(path, names)| {
        if !tree.is_file(path) {
            return None;
        }
        let line = tree.first_line(path).unwrap_or_default();
        let (_, id) = names.iter().find(|(start, _)| line.starts_with(start))?;
        let version = version(&line);
        let bare = line.starts_with(|c: char| c.is_ascii_digit());
        let product_name = if bare { format!("{id} {line}") } else { line };
        let product_name = Some(product_name).filter(|name| !name.is_empty());
        Some(Distribution { id: Some((*id).to_owned()), product_name, version, ..Distribution::default() })
    })
}

/// The first number in `text` and the one after its dot; 0 for what is not there.
fn version(text: &str) -> (u32, u32) {
    let Some(start) = text.find(|c: char| c.is_ascii_digit()) else { return (0, 0) };
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text[..end].parse().unwrap_or(0), text[end..].to_owned())
    };
    let (major, rest) = number(&text[start..]);
    let minor = rest.strip_prefix('.').map_or(0, |rest| number(rest).0);
    (major, minor)
}

/// `NAME=value` lines as a shell would read them, with quotes removed; comments and other lines are passed over.
pub fn assignments(text: &str) -> HashMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim()))).collect()
}

/// A shell word without its quotes and escapes.
pub fn unquoted(word: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|&quote| word.strip_prefix(quote)?.strip_suffix(quote));
    let Some(inner) = inner else { return word.to_owned() };
    if word.starts_with('\'') {
        return inner.to_owned();
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_prose() {
        assert_eq!(version("CentOS Linux release 7.9.2009 (Core)"), (7, 9));
        assert_eq!(version("12"), (12, 0));
        assert_eq!(version("bookworm/sid"), (0, 0));
        assert_eq!(version("99999999999.3"), (0, 3), "a number that is none");
    }

    #[test]
    fn values_are_unquoted_as_a_shell_does() {
        let text = "# c\nA=\"x \\\"y\\\"\"\nB='z'\n  C=plain # kept\nnothing\nD=\"";
        let values = assignments(text);
        assert_eq!(values["A"], "x \"y\"");
        assert_eq!(values["B"], "z");
        assert_eq!(values["D"], "\"");
        assert_eq!(values.len(), 4);
    }
}
