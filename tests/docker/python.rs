//! The Python clients that test suites and tools use: their everyday calls, as
//! scripts in `tests/python`.

use hako_tests::{Case, Client, Tool, both_walls, tool};
use std::{path::Path, time::Duration};

fn script(case: &Case, name: &str) -> Client {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
    Client::new(&tool(Tool::Python))
        .arg(file)
        .env("DOCKER_HOST", case.engine.host())
        .env("HOME", case.engine.path("home"))
        .env("WALL", case.wall.to_string())
        // Its reaper is an image of a registry.
        .env("TESTCONTAINERS_RYUK_DISABLED", "true")
        .deadline(Duration::from_secs(300))
}

both_walls! {
    fn docker_py(case) {
        let said = script(case, "docker_py.py").text();
        assert_eq!(said.lines().filter(|line| line.starts_with("passed: ")).count(), 5, "{said}");
    }

    fn testcontainers(case) {
        let said = script(case, "testcontainers_py.py").text();
        assert!(said.contains("passed: testcontainers"), "{said}");
    }
}
