use std::collections::BTreeMap;
use std::fs;

use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of the workspace")
}

#[test]
fn a_program_is_in_one_package() {
    let mut seen = BTreeMap::new();
    for package in PACKAGES {
        assert!(!package.purposes.is_empty(), "{}", package.name);
        for program in package.programs() {
            assert_eq!(seen.insert(program, package.name), None, "{program}");
        }
    }
}

/// What is installed here is where the table says. Alternatives and other names are links.
#[test]
fn a_program_is_in_the_package_that_has_it() {
    let Some(query) = find("dpkg-query", &whole_path()) else { return };
    let programs = PACKAGES.iter().flat_map(|package| package.programs().map(|program| (program, package.name)));
    let installed: Vec<(&str, String)> = programs
        .filter_map(|(program, package)| {
            let file = find(program, &whole_path())?.canonicalize().ok()?;
            // The database has some programs below /bin, and some below /usr/bin.
            Some((package, file.strip_prefix("/usr").unwrap_or(&file).display().to_string()))
        })
        .collect();
    let mut query = Command::new(query);
    query.arg("--search").args(installed.iter().map(|(_, file)| format!("*{file}"))).env("LC_ALL", "C");
    let known = String::from_utf8_lossy(&query.output().expect("dpkg-query can be started").stdout).into_owned();
    let known: Vec<(&str, &str)> = known.lines().filter_map(|line| line.split_once(": ")).collect();
    for (package, file) in installed {
        let owners: Vec<_> = known.iter().filter(|(_, path)| path.ends_with(&file)).map(|(owner, _)| owner).collect();
        // python3 stands for the version that the system has, python3.11-minimal.
        let is_it = |owner: &str| owner == package || owner.strip_prefix(package).is_some_and(|of| of.starts_with('.'));
        // One that came with no package, as from pyenv, says nothing of the table.
        let is_sound = owners.is_empty() || owners.iter().any(|owner| is_it(owner));
        assert!(is_sound, "{file} is in {owners:?}, not in {package}");
    }
}

#[test]
#[should_panic(expected = "mkfs.none is in no package of toolbox/src/packages.rs")]
fn a_program_that_is_in_no_package_is_not_called() {
    command("mkfs.none");
}

#[test]
fn a_program_sees_the_language_and_the_path() {
    let text = run(command("sh").args(["-c", "echo $LC_ALL $PATH"]));
    assert_eq!(text, format!("C.UTF-8 {}\n", search_path()));
}

#[test]
#[should_panic(expected = "exit status: 3: out\nerr\n")]
fn what_fails_is_shown_with_what_it_said() {
    run(command("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
}

#[test]
fn qemu_is_asked_again_when_its_clock_stood_still() {
    let folder = std::env::temp_dir().join(format!("imgmount-toolbox-test-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let script =
        format!("echo x >>tries; test $(wc -l <tries) = 3 || {{ echo 'luks: {CLOCK_STOOD_STILL}' >&2; exit 1; }}");
    let result = std::panic::catch_unwind(|| run(command("sh").args(["-c", &script]).current_dir(&folder)));
    fs::remove_dir_all(&folder).expect("it is ours");
    assert!(result.is_ok());
}

/// Files of tests and of xtask, in which an outside program is called by [`command`] alone.
#[test]
fn nobody_calls_a_program_that_this_table_does_not_know() {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "toolbox"].contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a source");
                let inside = path.strip_prefix(root()).expect("below the root");
                let tests = name == "tests.rs" || inside.iter().any(|part| part == "tests" || part == "xtask");
                // Of the program's own sources what follows its tests' mark.
                let tests =
                    if tests { &text[..] } else { text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests) };
                seen += usize::from(!tests.is_empty());
                if tests.contains(concat!("Command::", "new(")) {
                    found.push(inside.display().to_string());
                }
            }
        }
    }
    assert!(seen > 100, "{seen} files: these are not the sources");
    assert!(found.is_empty(), "they call programs by `Command::new`, want `toolbox::command`: {found:#?}");
}
