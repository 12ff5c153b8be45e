//! Where packages come from: what this machine's apt is configured to use.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::command::{command, read, run};

/// What debootstrap is told.
pub struct Mirror {
    /// The release that this machine runs.
    pub release: String,
    pub address: String,
    /// The proxy that apt uses, if it uses one.
    pub proxy: Option<String>,
}

impl Mirror {
    /// Asks apt.
    pub fn of_this_machine() -> Result<Self> {
        let system = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let release = system.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let release = release.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"').to_owned();
        let mut address = find(&release)?;
        if address.is_none() {
            run(&mut command("apt-get", ["-qq", "update"]))?;
            address = find(&release)?;
        }
        let address = address.with_context(|| format!("apt has no source for {release} main on this machine"))?;
        let proxy = read(&mut command("apt-config", ["shell", "proxy", "Acquire::http::Proxy"]))?;
        let proxy = proxy.trim().strip_prefix("proxy='").and_then(|rest| rest.strip_suffix('\''));
        ensure!(!address.starts_with('-'), "apt's source {address} is no address");
        Ok(Self { release, address, proxy: proxy.filter(|p| *p != "DIRECT").map(str::to_owned) })
    }
}

fn find(release: &str) -> Result<Option<String>> {
    let format = "$(SITE) $(CODENAME) $(COMPONENT)";
    let lines = read(&mut command("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]))?;
    Ok(lines.lines().find_map(|line| {
        let mut words = line.split(' ');
        let address = words.next()?;
        (words.next() == Some(release) && words.next() == Some("main")).then(|| address.to_owned())
    }))
}
