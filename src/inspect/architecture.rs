//! The guest's processor, read from the ELF header of one of its programs.

use super::tree::Tree;

/// Programs that every system has, in the order in which they are asked; guestmount's list.
const PROGRAMS: &[&str] = &["/bin/bash", "/bin/ls", "/bin/echo", "/bin/rm", "/bin/sh", "/bin/busybox"];

/// The architecture as `uname -m` and virt-inspector spell it, if one of the known programs is an ELF file.
pub fn architecture(tree: &Tree<'_>) -> Option<String> {
    let mut head = [0; 20];
    PROGRAMS.iter().find_map(|program| machine(tree.head(program, &mut head)?))
}

/// The name of an ELF header's machine: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>.
fn machine(head: &[u8]) -> Option<String> {
    let head: &[u8; 20] = head.first_chunk()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = head[4] == 2;
    let big = head[5] == 2;
    let machine = [head[18], head[19]];
    let machine = if big { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    let name = match machine {
        2 | 18 => "sparc",
        43 => "sparc64",
        3 => "i386",
        4 => "m68k",
        8 if wide && big => "mips64",
        8 if wide => "mips64el",
        8 if big => "mips",
        8 => "mipsel",
        15 => "parisc",
        20 => "ppc",
        21 if big => "ppc64",
        21 => "ppc64le",
        22 if wide => "s390x",
        22 => "s390",
        40 => "arm",
        42 => "sh4",
        50 => "ia64",
        62 => "x86_64",
        183 => "aarch64",
        243 if wide => "riscv64",
        243 => "riscv32",
        258 => "loongarch64",
        0x9026 => "alpha",
        other => return Some(format!("elf-machine-{other}")),
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_and_width_tell_relatives_apart() {
        let mut head = [0; 20];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = 21;
        assert_eq!(machine(&head).as_deref(), Some("ppc64le"));
        head[5] = 2;
        head[18..].copy_from_slice(&21u16.to_be_bytes());
        assert_eq!(machine(&head).as_deref(), Some("ppc64"));
        assert_eq!(machine(&head[..19]), None, "a short file");
        head[0] = b'#';
        assert_eq!(machine(&head), None, "a script");
    }

    #[test]
    fn our_own_program_is_recognised() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(machine(&own[..20]).as_deref(), Some(std::env::consts::ARCH));
    }
}
