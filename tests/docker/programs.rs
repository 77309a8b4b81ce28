//! Programs that people run: a database whose machine is killed, and a web
//! server under load.

use crate::networks::answers_host;
use hako_tests::{
    Case, Client, Context, Engine, Options, Wall, both_walls, debian, on_path, packages_and_needs, wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, path::Path, time::Duration};

/// Seconds under load, `HAKO_TEST_LOAD_SECONDS` where it is set.
fn load_seconds() -> String {
    std::env::var("HAKO_TEST_LOAD_SECONDS").unwrap_or_else(|_| "10".to_owned())
}

/// An image of Debian's smallest tree with these packages, built by the engine.
/// Their scripts are not run: those would want an init.
pub(crate) fn build(engine: &Engine, tag: &str, packages: &[&str], rest: &str) {
    engine.load(&debian());
    let dockerfile = format!(
        "FROM debian:minbase\nCOPY debs /debs\n\
         RUN for deb in /debs/*.deb; do dpkg-deb --fsys-tarfile $deb | tar -x --keep-directory-symlink -C / || exit 1; done; \
         ldconfig; rm -r /debs\n{rest}"
    );
    let context = Context::new(&dockerfile);
    fs::create_dir(context.at("debs")).expect("a fresh folder");
    for entry in fs::read_dir(packages_and_needs(packages)).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), context.at("debs").join(entry.file_name())).expect("room for a copy");
    }
    let built =
        engine.docker(["build", "--quiet", "--memory=1g", "--network=none", "--tag", tag]).args([context.path()]);
    let _ = built.env("DOCKER_BUILDKIT", "0").deadline(Duration::from_secs(300)).text();
}

const POSTGRES: &str = r#"
RUN useradd --system --home-dir /var/lib/postgresql --shell /bin/bash postgres \
 && install -d -o postgres -g postgres /var/lib/postgresql /run/postgresql
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
COPY <<'END' /start
#!/bin/sh
set -e
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    initdb --auth=trust --username=postgres --no-sync --locale=C >/dev/null
    echo "host all all all trust" >>"$PGDATA/pg_hba.conf"
fi
exec postgres -c "listen_addresses=*" -c jit=off -c shared_buffers=32MB
END
RUN chmod 755 /start
USER postgres
CMD ["/start"]
"#;

/// A client of the database, in a container behind the process wall.
fn beside(case: &Case, name: &str, script: &str) -> Client {
    beside_with(case, &[], name, script)
}

fn beside_with(case: &Case, flags: &[&str], name: &str, script: &str) -> Client {
    case.docker(["run"])
        .args(flags)
        .args(["--name", name, "--isolation=process", "--network=data", "-m=256m", "--pids-limit=64"])
        .args(["--env=PGHOST=db", "--env=PGUSER=postgres", "--env=PGCONNECT_TIMEOUT=10"])
        .args(["postgres", "bash", "-c", script])
        .deadline(Duration::from_secs(240))
}

/// The same in the background.
fn behind(case: &Case, name: &str, script: &str) -> Client {
    beside_with(case, &["--detach"], name, script)
}

fn sql(case: &Case, query: &str) -> String {
    case.docker(["exec", "db", "psql", "--no-psqlrc", "-qAt", "-c", query]).deadline(Duration::from_secs(120)).text()
}

fn wait_for_database(case: &Case) {
    wait_until(Duration::from_secs(180), "the database to answer", || {
        let answer = case.docker(["exec", "db", "psql", "-qAt", "-c", "SELECT 1"]).run();
        let ended = answer.code != 0 && case.inspect("db", "{{.State.Status}}") == "exited";
        assert!(!ended, "{} {}", case.inspect("db", "{{json .State}}"), case.docker(["logs", "db"]).run());
        answer.out() == "1"
    });
}

/// The process whose end is the end of the database's machine.
fn machine(case: &Case) -> Pid {
    let id = case.inspect("db", "{{.Id}}");
    let state =
        fs::read_to_string(case.engine.path("run/shims").join(id).join("state.json")).expect("its shim's state");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let pid = state["vm_pid"].as_i64().expect("a machine");
    Pid::from_raw(i32::try_from(pid).expect("a pid"))
}

/// A database in a virtual machine, its clients behind the process wall, both on
/// one network, its files on a named volume. The machine is killed while rows are
/// written: none is lost whose writing was told.
#[test]
fn postgres_whose_machine_is_killed() {
    if hako_tests::not_on_reference("there is no hyperv wall") {
        return;
    }
    let engine = Engine::with(Options { networks: true, ..Options::default() });
    build(&engine, "postgres", &["postgresql-15"], POSTGRES);
    let case = Case::new(engine, Wall::Hyperv);
    let _ = case.docker(["network", "create", "data"]).text();
    let _ = case
        .networked("run", &["-d", "--name=db", "--network=data", "-m=512m", "--pids-limit=200", "--shm-size=64m"])
        .args(["--volume=rows:/var/lib/postgresql", "postgres"])
        .text();
    wait_for_database(&case);
    let _ = beside(&case, "fill", "pgbench --initialize --quiet --scale=1 postgres").text();
    let _ = sql(&case, "CREATE TABLE told (n integer PRIMARY KEY)");
    // Two at once: the bank's own bookkeeping, and rows that are told one by one.
    // They run in the background: a machine that is killed says nothing to its
    // peers, which wait for an answer for a quarter of an hour.
    let _ = behind(&case, "bank", "pgbench --client=4 --time=600 --no-vacuum postgres").text();
    let writer = "n=1; while psql -qAt -c \"INSERT INTO told VALUES ($n)\" postgres; do echo $n; n=$((n+1)); done";
    let _ = behind(&case, "writer", writer).text();
    wait_until(Duration::from_secs(120), "rows to be written", || {
        case.docker(["logs", "--tail=1", "writer"]).run().out().parse::<u32>().is_ok_and(|n| n >= 20)
    });
    kill(machine(&case), Signal::SIGKILL).expect("a process of this test");
    case.wait_for("db", "exited");
    let told = case.docker(["logs", "--tail=1", "writer"]).text().parse::<u32>().expect("a row's number");
    let _ = case.docker(["rm", "--force", "bank", "writer", "fill"]).text();

    let _ = case.docker(["start", "db"]).text();
    wait_for_database(&case);
    let kept: u32 = sql(&case, &format!("SELECT count(*) FROM told WHERE n <= {told}")).parse().expect("a number");
    assert_eq!(kept, told, "rows that were told to be written are gone");
    let sums = sql(
        &case,
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history), \
         (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
    );
    assert_eq!(sums, "t|t", "the bank's books do not agree");
    let _ = case.docker(["rm", "--force", "--volumes", "db"]).text();
    let _ = case.docker(["volume", "rm", "rows"]).text();
    let _ = case.docker(["network", "rm", "data"]).text();
    case.engine.finish();
}

const NGINX: &str = r#"
RUN useradd --system --no-create-home --shell /bin/false www && mkdir -p /var/lib/nginx /var/log/nginx /srv \
 && head -c 4096 /dev/urandom >/srv/index.html
COPY <<'END' /etc/nginx.conf
user www;
daemon off;
worker_processes 2;
pid /run/nginx.pid;
error_log /dev/stderr;
events { worker_connections 512; }
http { access_log off; server { listen 80; root /srv; } }
END
CMD ["nginx", "-c", "/etc/nginx.conf"]
"#;

both_walls! { networks:
    /// A published port, from the host, without one failed request.
    fn nginx_under_load(case) {
        build(&case.engine, "nginx", &["nginx-light"], NGINX);
        let _ = case
            .networked("run", &["-d", "--name=web", "--publish=127.0.0.1:8080:80", "-m=256m", "--pids-limit=64", "nginx"])
            .text();
        let wrk = on_path("wrk").expect("package wrk");
        let wrk = |seconds: &str| {
            let wrk = case.engine.on_host(&wrk.display().to_string());
            wrk.args(["-c16", "-t2", "--timeout=30s", &format!("-d{seconds}s"), "http://127.0.0.1:8080/"])
                .deadline(Duration::from_secs(180))
                .run()
        };
        wait_until(Duration::from_secs(60), "the server to answer", || {
            answers_host(case, "127.0.0.1", 8080)
        });
        let told = wrk(&load_seconds());
        let text = told.out();
        assert_eq!(told.code, 0, "{told}");
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "requests have failed:\n{text}");
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).expect("a count").0;
        assert!(requests.parse::<u64>().expect("a number") > 100, "{text}");
        println!("{text}");
        let _ = case.docker(["rm", "--force", "web"]).text();
        assert!(!Path::new("/srv/index.html").exists(), "the build wrote to the host");
    }
}
