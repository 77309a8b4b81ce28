//! A real distribution.

use hako_tests::{Engine, both_walls, debian};
use std::time::Duration;

const SCRIPT: &str = r#"
set -e
bash -c 'echo bash ${BASH_VERSION%%.*}; printf "%s\n" {a..e} | sort -r | tr -d "\n"; echo'
perl -e 'my %h = map { $_ => $_ ** 2 } 1..5; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n"'
perl -MPOSIX -e 'print POSIX::floor(3.7), "\n"'
apt-get --version | head -n 1
dpkg -l
cat /etc/debian_version
# A folder's size is its filesystem's own matter; a file's is the image's.
ls -l /usr/bin/passwd
stat -c '%n %A %u:%g %Y' /usr/bin/passwd /var/mail /usr/bin
find / -xdev -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/etc/host*' -not -path '/etc/resolv.conf' | sort | sha256sum
"#;

both_walls! {
    fn minbase(case) {
        case.engine.load(&debian());
        let run = || case.run(&["debian:minbase", "bash", "-c", SCRIPT]).deadline(Duration::from_secs(240)).text();
        let text = run();
        for sign in ["bash 5", "edcba", "1=1,2=4,3=9,4=16,5=25", "apt 2", "ii  base-files", "-rwsr-xr-x 1 root root"] {
            assert!(text.contains(sign), "{sign:?} is missing in\n{text}");
        }
        // `dpkg -l` lists over eighty packages.
        assert!(text.lines().filter(|line| line.starts_with("ii  ")).count() > 80, "{text}");
    }
}

/// The same output, byte for byte, behind both walls.
#[test]
fn both_walls_say_the_same() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    let engine = Engine::start();
    engine.load(&debian());
    let run = |wall: &str| {
        let flag = format!("--isolation={wall}");
        let command = engine.docker(["run", "--rm", &flag, "debian:minbase", "bash", "-c", SCRIPT]);
        command.deadline(Duration::from_secs(240)).text()
    };
    assert_eq!(run("process"), run("hyperv"));
    engine.finish();
}
