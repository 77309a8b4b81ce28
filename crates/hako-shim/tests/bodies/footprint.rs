//! What a container costs beside its workload.

use crate::{bundle::Options, harness::Shim};
use std::collections::HashMap;

/// The budget, per container, in KiB.
const BUDGET: u64 = 2048;

fn rollup(pid: u32) -> HashMap<String, u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let pair = |line: &str| {
        let (key, rest) = line.split_once(':')?;
        Some((key.to_owned(), rest.trim().strip_suffix(" kB")?.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

#[tokio::test]
async fn a_shim_keeps_to_its_memory_budget() {
    let mut shims = Vec::new();
    for _ in 0..4 {
        let shim = Shim::create(Options::sh("seq 1 10000; sleep 60").stdin(true)).await;
        shim.run("").await.unwrap();
        shim.exec("e", &["true"], false, false).await.unwrap();
        shim.run("e").await.ok();
        shims.push((shim.attach("", false).await, shim));
    }
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    let mut sum = 0;
    for (_, shim) in &shims {
        let rollup = rollup(shim.pid());
        let threads = std::fs::read_dir(format!("/proc/{}/task", shim.pid())).unwrap().count();
        assert_eq!(threads, 1, "no thread but the one");
        eprintln!(
            "Pss {} Private_Dirty {} Private_Clean {} Rss {} KiB",
            rollup["Pss"], rollup["Private_Dirty"], rollup["Private_Clean"], rollup["Rss"]
        );
        sum += rollup["Pss"];
    }
    assert!(sum / 4 <= BUDGET, "{} KiB a container", sum / 4);
    for (client, shim) in shims {
        drop(client);
        shim.shutdown(true).await.unwrap();
        shim.check_clean();
    }
}
