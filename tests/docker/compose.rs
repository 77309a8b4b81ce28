//! `docker-compose`, the oldest that is still met: projects of several services
//! on networks and volumes of their own.

use crate::networks::request;
use hako_tests::{Case, Client, Context, both_walls, on_path, wait_until};
use std::{path::Path, time::Duration};

/// Two services, a volume that both have, and names that lead to one another.
const TWO: &str = r#"
version: "2.4"
services:
  web:
    image: busybox
    isolation: @WALL@
    mem_limit: 128m
    pids_limit: 32
    command: ["sh", "-c", "while [ ! -e /shared/index.html ]; do sleep 0.2; done; exec httpd -f -h /shared"]
    volumes: ["shared:/shared:ro"]
    ports: ["127.0.0.1:8081:80"]
    stop_grace_period: 1s
  writer:
    image: busybox
    isolation: process
    mem_limit: 64m
    pids_limit: 32
    command: ["sh", "-c", "echo written >/shared/part; mv /shared/part /shared/index.html; exec sleep 1000"]
    volumes: ["shared:/shared"]
    stop_grace_period: 1s
volumes:
  shared:
"#;

/// A web server that asks a database, and a worker that writes to it, of which
/// there may be several. The database is a service that answers what it was told.
const THREE: &str = r#"
version: "2.4"
services:
  database:
    image: busybox
    isolation: hyperv
    mem_limit: 128m
    pids_limit: 64
    command: ["sh", "-c", "exec nc -ll -p 5432 -e tee -a /data/rows"]
    volumes: ["rows:/data"]
    networks: {back: {aliases: [db]}}
    stop_grace_period: 1s
  worker:
    image: busybox
    isolation: @WALL@
    mem_limit: 128m
    pids_limit: 32
    command: ["sh", "-c", "while :; do hostname | nc -w 2 db 5432; sleep 1; done"]
    depends_on: [database]
    networks: [back]
    stop_grace_period: 1s
  web:
    build: web
    isolation: @WALL@
    mem_limit: 128m
    pids_limit: 32
    environment: {GREETING: "rows:"}
    ports: ["127.0.0.1:8082:80"]
    volumes: ["rows:/srv/rows:ro"]
    depends_on: [database]
    networks: [front, back]
    stop_grace_period: 1s
networks:
  front:
  back: {internal: true}
volumes:
  rows:
"#;

const WEB: &str = r#"
FROM busybox
RUN mkdir -p /srv/www/cgi-bin
COPY <<'END' /srv/www/cgi-bin/rows
#!/bin/sh
echo "Content-Type: text/plain"
echo
echo "$GREETING $(sort -u /srv/rows/rows | wc -l)"
END
RUN chmod 755 /srv/www/cgi-bin/rows
CMD ["httpd", "-f", "-h", "/srv/www"]
"#;

fn project(case: &Case, file: &str) -> Context {
    Context::new("").file("docker-compose.yml", file.replace("@WALL@", &case.wall.to_string()))
}

/// `docker-compose` with the file in `folder`.
pub(crate) fn compose(case: &Case, folder: &Path, args: &[&str]) -> Client {
    let program = on_path("docker-compose").expect("package docker-compose");
    Client::new(&program)
        .args(["--no-ansi", "--project-name=project", "--file"])
        .args([folder.join("docker-compose.yml")])
        .args(args)
        .env("DOCKER_HOST", case.engine.host())
        .env("DOCKER_CONFIG", case.engine.path("home"))
        .env("COMPOSE_HTTP_TIMEOUT", "200")
        .deadline(Duration::from_secs(240))
}

/// What a client on the host is answered.
fn get(case: &Case, port: u16, path: &str) -> String {
    let script = request(path, "127.0.0.1", port);
    case.engine.on_host("sh").args(["-c", &script]).run().out()
}

fn nothing_is_left(case: &Case) {
    for list in [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-q", "--filter", "type=custom"]] {
        assert_eq!(case.docker(list).text(), "", "{list:?}");
    }
}

both_walls! { networks:
    fn two_services_and_a_volume(case) {
        let folder = project(case, TWO);
        let _ = compose(case, folder.path(), &["up", "-d"]).text();
        wait_until(Duration::from_secs(90), "the page", || get(case, 8081, "/") == "written");
        let states = compose(case, folder.path(), &["ps"]).text();
        assert_eq!(states.matches(" Up ").count(), 2, "{states}");
        // By its service's name, from the other wall.
        let asked = compose(case, folder.path(), &["exec", "-T", "writer", "sh", "-c", &request("/", "web", 80)]).text();
        assert_eq!(asked, "written");
        let _ = compose(case, folder.path(), &["restart", "web"]).text();
        wait_until(Duration::from_secs(90), "the page", || get(case, 8081, "/") == "written");
        // The volume stays until it is asked for.
        let _ = compose(case, folder.path(), &["down"]).text();
        assert_eq!(case.docker(["volume", "ls", "-q"]).text(), "project_shared");
        let _ = compose(case, folder.path(), &["up", "-d"]).text();
        let _ = compose(case, folder.path(), &["down", "--volumes"]).text();
        nothing_is_left(case);
    }

    fn three_services_of_which_one_is_scaled(case) {
        let folder = project(case, THREE).file("web/Dockerfile", WEB);
        let _ = compose(case, folder.path(), &["up", "-d", "--build"]).env("DOCKER_BUILDKIT", "0").text();
        let rows = |count: usize| {
            wait_until(Duration::from_secs(120), &format!("{count} workers' rows"), || {
                get(case, 8082, "/cgi-bin/rows") == format!("rows: {count}")
            });
        };
        rows(1);
        let _ = compose(case, folder.path(), &["up", "-d", "--scale", "worker=3", "worker"]).text();
        rows(3);
        assert_eq!(compose(case, folder.path(), &["ps", "-q", "worker"]).text().lines().count(), 3);
        let _ = compose(case, folder.path(), &["up", "-d", "--scale", "worker=1", "worker"]).text();
        assert_eq!(compose(case, folder.path(), &["ps", "-q", "worker"]).text().lines().count(), 1);
        // Nobody on the back network reaches anything but its neighbours.
        let out = compose(case, folder.path(), &["exec", "-T", "worker", "nc", "-w", "2", "192.0.2.1", "80"]);
        assert_ne!(out.run().code, 0);
        let _ = compose(case, folder.path(), &["down", "--volumes", "--rmi=local"]).text();
        nothing_is_left(case);
        assert_eq!(case.docker(["images", "-q", "project_web"]).text(), "");
    }
}
