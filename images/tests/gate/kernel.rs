//! What the kernel says: processes of other users that try to open files.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Opens each file that it is told, and answers with its device and inode.
const PROGRAM: &str = r#"$| = 1; while (<STDIN>) { chomp; if (open(F, "<", $_)) { @s = stat(F); print "$s[0]:$s[1]\n"; close F }
else { print "no\n" } }"#;

/// A process of another user, in one group only.
pub struct Kernel {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Kernel {
    /// A process of this user and group.
    pub fn of(user: u32, group: u32) -> Self {
        // Of a process of root that becomes another user, std clears the groups.
        let mut child = toolbox::command("perl")
            .args(["-e", PROGRAM])
            .current_dir("/")
            .uid(user)
            .gid(group)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs root, and perl");
        let (questions, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, questions, answers }
    }

    /// Which file the user opens at this path, if he may.
    pub fn opens(&mut self, path: &Path) -> Option<(u64, u64)> {
        writeln!(self.questions, "{}", path.to_str().unwrap()).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let (device, inode) = line.trim().split_once(':')?;
        Some((device.parse().unwrap(), inode.parse().unwrap()))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
