//! One Dockerfile behind each wall: the same files, modes, owners and contents
//! in every layer, and the same configuration.

use crate::build_instructions::every;
use hako_tests::{Case, Context, Engine, Image, Wall, busybox, debian_tree, packages, with_wall};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command, time::Duration};

const WALLS: [&str; 2] = ["process", "hyperv"];

fn once(body: fn(&Case)) {
    if !Engine::is_reference() {
        with_wall(Wall::Process, body);
    }
}

/// Builds `tag:process` and `tag:hyperv`, each by itself: the cache is not
/// asked. What was said.
fn build(case: &Case, context: &Context, tag: &str, flags: &[&str]) -> [String; 2] {
    WALLS.map(|wall| {
        let build = case.docker(["build", "--no-cache", "--network=none", "-t"]).arg(format!("{tag}:{wall}"));
        let build = build.arg(format!("--isolation={wall}")).args(flags).arg(context.path());
        build.env("DOCKER_BUILDKIT", "0").deadline(Duration::from_secs(480)).text()
    })
}

/// Demands that both images are the same, but for their times and the content of
/// files below `dated`. The number of entries of each layer.
fn compare(case: &Case, tag: &str, dated: &[&str]) -> Vec<usize> {
    let [process, hyperv] = WALLS.map(|wall| {
        let image = format!("{tag}:{wall}");
        let mut layers = case.layers(&image);
        for line in layers.iter_mut().flatten().filter(|line| dated.iter().any(|name| line.starts_with(name))) {
            line.truncate(line.rfind(' ').unwrap());
        }
        let shown = case.docker(["image", "inspect", &image]).text();
        let config = serde_json::from_str::<Value>(&shown).unwrap()[0]["Config"].clone();
        let history = case.docker(["history", "--no-trunc", "--format", "{{.CreatedBy}}", &image]).text();
        (layers, config, history)
    });
    assert_eq!(process.0.len(), hyperv.0.len());
    for (process, hyperv) in process.0.iter().zip(&hyperv.0) {
        let only = |these: &[String], those: &[String]| {
            these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
        };
        assert!(process == hyperv, "{:#?}\nand\n{:#?}", only(process, hyperv), only(hyperv, process));
    }
    assert_eq!((&process.1, &process.2), (&hyperv.1, &hyperv.2));
    process.0.iter().map(Vec::len).collect()
}

/// What the instructions that write can leave behind, and what is copied of it.
#[test]
fn kinds_of_files() {
    once(|case| {
        let context = Context::new(
            "FROM busybox AS made\nWORKDIR /srv\nCOPY --chown=3:4 tree tree\n\
             RUN mkdir -m 2750 d && echo one > d/one && chown -R 12:34 d && chmod 4711 d/one && ln d/one hard && ln -s d soft && mkfifo pipe\n\
             RUN rm -r tree/sub d /home && mkdir d /home && echo two > d/two && touch /home/new && mv hard moved\n\
             RUN rm /etc/group && chmod 700 tree && dd if=/dev/zero of=big bs=64k count=40 2>/dev/null\n\
             USER someone\nRUN touch /tmp/mine && umask 077 && mkdir /tmp/private\n\
             RUN --mount=type=cache,target=/tmp/cache,uid=1000 echo x > /tmp/cache/x && id > /tmp/id\n\
             FROM busybox\nCOPY --from=made /srv /srv\nCOPY --from=made /tmp /copied\n",
        )
        .mode("tree/run", 0o755, "run")
        .file("tree/sub/leaf", "leaf");
        for (tag, target) in [("made", "--target=made"), ("last", "--target=1")] {
            let _ = build(case, &context, tag, &[target]);
            let layers = compare(case, tag, &[]);
            assert!(layers.iter().all(|entries| *entries > 0), "{layers:?}");
        }
    });
}

#[test]
fn every_instruction() {
    once(|case| {
        let _ = build(case, &every(), "every", &[]);
        // The base, two WORKDIRs, COPY, ADD and four RUNs; VOLUME and what is said are no layers.
        let layers = compare(case, "every", &[]);
        assert_eq!(layers.len(), 9, "{layers:?}");
    });
}

/// Debian's smallest tree made into an image, and packages installed in it.
#[test]
fn debian_from_scratch() {
    once(|case| {
        let context = Context::new(
            "FROM scratch\nADD tree.tar /\n\
             RUN --mount=type=bind,source=packages,target=/packages dpkg --install --force-unsafe-io /packages/*.deb\n\
             RUN useradd --uid 1234 --create-home builder && install -d -o builder -g staff -m 2775 /srv/work \
                 && find /usr/share/doc /usr/share/locale -type f ! -name copyright -delete && rm -r /usr/share/man\n\
             USER builder\nWORKDIR /home/builder\n\
             RUN umask 027 && perl -e 'for (1..50) { open my $f, \">\", \"n$_\"; print $f $_ ** 2; link \"n$_\", \"l$_\" }' \
                 && dpkg-query -W tcc musl > installed\n",
        );
        fs::copy(debian_tree(), context.at("tree.tar")).unwrap();
        copy_packages(&["tcc_", "musl_"], &context.at("packages"));
        let _ = build(case, &context, "debian", &[]);
        // Logs have times in them, and this cache the times of the files that it is about.
        let layers = compare(case, "debian", &["var/log/", "var/cache/ldconfig/aux-cache", "etc/shadow"]);
        assert!(layers.len() >= 4 && layers[0] > 5000, "{layers:?}");
        for wall in WALLS {
            let run = ["run", "--rm", "--network=none", &format!("--isolation={wall}"), &format!("debian:{wall}")];
            let said = case.docker(run).args(["bash", "-c", "id -un; cut -f1 installed; cat l7; tcc -v"]).text();
            assert!(said.starts_with("builder\nmusl:amd64\ntcc\n49tcc version"), "{said}");
        }
    });
}

const PACKAGES: [&str; 4] = ["libc6", "tcc", "musl", "musl-dev"];

fn copy_packages(prefixes: &[&str], to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(packages(&PACKAGES)).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name().into_string().unwrap())).unwrap();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            fs::copy(path, to.join(name)).unwrap();
        }
    }
}

/// busybox and a C compiler, with a C library that links statically.
fn compiler() -> Image {
    let work = tempfile::tempdir().unwrap();
    let tree = work.path().join("tree");
    copy_packages(&[""], &work.path().join("packages"));
    for package in fs::read_dir(work.path().join("packages")).unwrap() {
        let status = Command::new("dpkg").arg("--extract").arg(package.unwrap().path()).arg(&tree).status().unwrap();
        assert!(status.success());
    }
    let packed = Command::new("tar").args(["-c", "--numeric-owner", "-C"]).arg(&tree).arg(".").output().unwrap();
    assert!(packed.status.success());
    Image::new("compiler:1", vec![busybox().layers()[0].clone(), packed.stdout]).with("Cmd", json!(["sh"]))
}

/// Compiles what the cache does not have, and links.
const COMPILE: &str = r#"set -e
lib=/usr/lib/x86_64-linux-musl tcc=/usr/lib/x86_64-linux-gnu/tcc
for file in *.c; do
    object=/cache/$(cat $file *.h | sha256sum | cut -c 1-64).o
    if [ -e $object ]; then
        echo reused $file
    else
        tcc -nostdinc -I/usr/include/x86_64-linux-musl -I$tcc/include -c $file -o $object
        echo compiled $file
    fi
    objects="$objects $object"
done
mkdir -p ${1%/*}
tcc -nostdlib -static -o $1 $lib/crt1.o $objects $lib/libc.a $tcc/libtcc1.a
"#;

const GENERATOR: &str = r#"#include <stdio.h>
int main(void) {
    puts("static const int squares[] = {");
    for (int n = 0; n < 10; n++) printf("%d,", n * n);
    puts("};\n#define COUNT 10");
}
"#;

const MAIN: &str = r#"#include <stdio.h>
#include "words.h"
int main(int argc, char **argv) {
    printf("%s %d\n", word(), sum());
    return argc == 1 ? 0 : 3;
}
"#;

const WORDS: &str = "#include \"words.h\"\n#include \"squares.h\"\nconst char *word(void) { return \"WORD\"; }\n\
    int sum(void) { int all = 0; for (int n = 0; n < COUNT; n++) all += squares[n]; return all; }\n";

/// A C program in stages: one makes a header by a program of its own, one
/// compiles with what its cache has, and the image has the program alone.
#[test]
fn a_c_program() {
    once(|case| {
        case.engine.load(&compiler());
        let context = Context::new(
            "FROM compiler:1 AS tools\nCOPY compile /bin/compile\n\
             FROM tools AS generated\nWORKDIR /generator\nCOPY generator/ .\n\
             RUN --mount=type=cache,id=objects,target=/cache touch none.h && sh /bin/compile /out/generate && /out/generate > squares.h\n\
             FROM tools AS program\nWORKDIR /src\nCOPY src/ .\nCOPY --from=generated /generator/squares.h .\n\
             RUN --mount=type=cache,id=objects,target=/cache sh /bin/compile /out/bin/program && rm *.h\n\
             FROM scratch\nCOPY --from=program --chown=7:8 /out/ /\nUSER 7\nENTRYPOINT [\"/bin/program\"]\n",
        )
        .file("compile", COMPILE)
        .file("generator/generate.c", GENERATOR)
        .file("src/main.c", MAIN)
        .file("src/words.c", WORDS.replace("WORD", "first"))
        .file("src/words.h", "const char *word(void);\nint sum(void);\n");
        let build_and_run = |word: &str, expected: &[&str]| {
            for said in build(case, &context, "program", &[]) {
                let done: Vec<&str> = said
                    .lines()
                    .filter(|line| ["compiled ", "reused "].iter().any(|verb| line.starts_with(verb)))
                    .collect();
                assert_eq!(done, expected, "{said}");
            }
            assert_eq!(compare(case, "program", &[]), [2]);
            for (built, runs) in [("process", "hyperv"), ("hyperv", "process")] {
                let run =
                    ["run", "--rm", "--network=none", &format!("--isolation={runs}"), &format!("program:{built}")];
                assert_eq!(case.docker(run).text(), format!("{word} 285"));
                case.docker(run).arg("x").run().fails(3, "");
            }
        };
        build_and_run("first", &["compiled generate.c", "compiled main.c", "compiled words.c"]);
        context.write("src/words.c", WORDS.replace("WORD", "second"));
        build_and_run("second", &["reused generate.c", "reused main.c", "compiled words.c"]);
    });
}
