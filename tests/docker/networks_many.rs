//! Networks in numbers: many containers on one, many of them, many changes while
//! the engine is killed. Whatever was made goes again.
//!
//! `HAKO_TEST_CONTAINERS`, `HAKO_TEST_NETWORKS` and `HAKO_TEST_ROUNDS` say how
//! many; what stands here fits into a run of all tests.

use hako_tests::{Case, Wall, both_walls, not_on_reference, wait_until, with_networks};
use nix::sys::signal::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// For one command about all of them.
const LONG: Duration = Duration::from_secs(400);
/// Virtual machines among the many, emulated perhaps.
const GUESTS: usize = 4;
/// How often the engine is killed while networks come and go.
const KILLS: usize = 5;

fn number(name: &str, usual: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What an engine has of its host's network.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    interfaces: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    /// The words of all rules, since a set shows its elements in no order.
    rules: Vec<String>,
}

impl Held {
    fn now(case: &Case) -> Self {
        let network = case.engine.network().unwrap();
        let names = fs::read_dir(case.engine.exec_root().join("netns")).into_iter().flatten();
        let rules = network.tool("nft", &["--stateless", "list", "ruleset"]);
        let words = rules.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let mut rules: Vec<String> = words.map(str::to_owned).collect();
        rules.sort();
        Self {
            interfaces: network.interfaces().into_iter().collect(),
            namespaces: names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect(),
            rules,
        }
    }

    /// Waits until nothing more is held than this, and nothing less.
    fn again(&self, case: &Case) {
        let begin = Instant::now();
        while Self::now(case) != *self && begin.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(Self::now(case), *self, "left: what there is, right: what there was");
    }
}

/// A container that waits, behind `wall`.
fn waits(case: &Case, wall: Wall, name: &str, network: &str) {
    let memory = if wall == Wall::Hyperv { "-m=128m" } else { "-m=16m" };
    let args = ["run", "-d", "--name", name, &format!("--isolation={wall}"), &format!("--network={network}"), memory];
    let _ = case.docker(args).args(["--pids-limit=32", "busybox", "sleep", "10000"]).deadline(PATIENCE * 3).text();
}

/// Who is on `network`, with his address.
fn addresses(case: &Case, network: &str) -> BTreeMap<String, String> {
    let format = "{{range .Containers}}{{.Name}} {{.IPv4Address}}\n{{end}}";
    let text = case.docker(["network", "inspect", "-f", format, network]).text();
    let pair = |line: &str| {
        let (name, address) = line.split_once(' ')?;
        Some((name.to_owned(), address.split('/').next()?.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// Asks in `from` for each name, and whether somebody is at its address.
fn finds<'a>(case: &Case, from: &str, wanted: impl IntoIterator<Item = (&'a String, &'a String)>) {
    let all = wanted.into_iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "for pair in {all}; do name=${{pair%=*}}; address=${{pair#*=}}; \
         nslookup -type=a $name >/tmp/said; grep -q \"^Address: $address$\" /tmp/said || {{ echo $pair; cat /tmp/said; }}; \
         ping -c 1 -w 10 $address >/tmp/said || {{ echo $pair; cat /tmp/said; }}; done; echo all of {all}"
    );
    let said = case.docker(["exec", from, "sh", "-c", &script]).deadline(LONG).text();
    assert_eq!(said, format!("all of {all}"), "from {from}");
}

/// Hundreds on one network, and some virtual machines among them.
#[test]
fn one_network_of_many() {
    if not_on_reference("it looks at the engine's own interfaces") {
        return;
    }
    with_networks(Wall::Process, |case| {
        let many = number("HAKO_TEST_CONTAINERS", 60);
        let _ = case.docker(["network", "create", "mine"]).text();
        let before = Held::now(case);
        let begin = Instant::now();
        for n in 0..many {
            waits(case, Wall::Process, &format!("c{n}"), "mine");
        }
        let started = begin.elapsed();
        for n in 0..GUESTS {
            waits(case, Wall::Hyperv, &format!("g{n}"), "mine");
        }
        let all = addresses(case, "mine");
        assert_eq!(all.len(), many + GUESTS, "{all:?}");
        assert_eq!(all.values().collect::<BTreeSet<_>>().len(), many + GUESTS, "an address was given twice: {all:?}");
        assert_eq!(Held::now(case).namespaces.len(), many + GUESTS);
        // Some of them know some others, those behind the other wall too.
        let sample: BTreeMap<_, _> =
            all.iter().filter(|(name, _)| name.starts_with('g') || name.ends_with('7')).collect();
        assert!(sample.len() > GUESTS);
        let last = format!("c{}", many - 1);
        for from in ["c0", &last, "g0", "g3"] {
            finds(case, from, sample.iter().map(|(name, address)| (*name, *address)));
        }
        let begin = Instant::now();
        let ids = case.docker(["ps", "-aq"]).text();
        let _ = case.docker(["rm", "-f"]).args(ids.lines()).deadline(LONG).text();
        println!("{many} started in {started:?}, and with {GUESTS} guests removed in {:?}", begin.elapsed());
        before.again(case);
        assert_eq!(addresses(case, "mine").len(), 0);
        let _ = case.docker(["network", "rm", "mine"]).text();
        Held::default().again(case);
    });
}

both_walls! { networks:
    /// Many networks with one container on all of them, and a neighbour on each.
    fn many_networks(case) {
        if not_on_reference("it looks at the engine's own interfaces") { return; }
        // A guest's further interfaces are the same, and each takes an emulated one its time.
        let many = number("HAKO_TEST_NETWORKS", if case.wall == Wall::Hyperv { 10 } else { 50 });
        let _ = case.docker(["network", "create", "home"]).text();
        waits(case, case.wall, "hub", "home");
        let mut neighbours = BTreeMap::new();
        for n in 0..many {
            // More than Docker's pools have room for.
            let subnet = format!("--subnet=10.88.{n}.0/24");
            let (name, neighbour) = (format!("net{n}"), format!("box{n}"));
            let _ = case.docker(["network", "create", &subnet, &name]).text();
            waits(case, Wall::Process, &neighbour, &name);
            let _ = case.docker(["network", "connect", &name, "hub"]).text();
            neighbours.insert(neighbour, addresses(case, &name)[&format!("box{n}")].clone());
        }
        finds(case, "hub", &neighbours);
        assert_eq!(case.exec("hub", "ls -d /sys/class/net/eth* | wc -l").ok(), (many + 1).to_string());
        // Removed one by one, and all that nobody is on.
        for n in 0..many / 2 {
            let name = format!("net{n}");
            let _ = case.docker(["rm", "-f", &format!("box{n}")]).text();
            let _ = case.docker(["network", "disconnect", &name, "hub"]).text();
            let _ = case.docker(["network", "rm", &name]).text();
        }
        assert_eq!(case.exec("hub", "ls -d /sys/class/net/eth* | wc -l").ok(), (many - many / 2 + 1).to_string());
        let ids = case.docker(["ps", "-aq"]).text();
        let _ = case.docker(["rm", "-f"]).args(ids.lines()).deadline(LONG).text();
        let _ = case.docker(["network", "prune", "-f"]).deadline(LONG).text();
        assert_eq!(case.docker(["network", "ls", "-q", "-f", "type=custom"]).text(), "");
        Held::default().again(case);
    }

    /// Containers come to a network and leave it over and over, and the engine
    /// is killed meanwhile.
    fn comes_and_goes(case) {
        if not_on_reference("it is not ours to kill") { return; }
        let guests = case.wall == Wall::Hyperv;
        let rounds = number("HAKO_TEST_ROUNDS", if guests { 40 } else { 200 });
        let boxes: Vec<String> = (0..if guests { 2 } else { 4 }).map(|n| format!("box{n}")).collect();
        let _ = case.docker(["network", "create", "home"]).text();
        // Room for five: an address that is not given back is missed soon.
        let _ = case.docker(["network", "create", "--subnet=10.77.0.0/29", "ring"]).text();
        for name in &boxes {
            waits(case, case.wall, name, "home");
        }
        let before = (Held::now(case), insides(case, &boxes), files(case, &boxes));
        let begin = Instant::now();
        in_rounds(case, &boxes, rounds);
        println!("{rounds} rounds and {KILLS} kills in {:?}", begin.elapsed());
        // Where the last one was cut off, it is on the ring, or not, and not in between.
        for name in &boxes {
            let _ = case.docker(["network", "disconnect", "ring", name]).run();
            let _ = case.docker(["network", "connect", "ring", name]).text();
        }
        let on = addresses(case, "ring");
        assert_eq!(on.len(), boxes.len(), "{on:?}");
        // They have another address on the other network, where they also know one another.
        let on = on.into_iter().map(|(name, address)| (format!("{name}.ring"), address)).collect::<BTreeMap<_, _>>();
        boxes.iter().for_each(|name| finds(case, name, &on));
        for name in &boxes {
            let _ = case.docker(["network", "disconnect", "ring", name]).text();
        }
        before.0.again(case);
        assert_eq!(insides(case, &boxes), before.1);
        wait_until(PATIENCE, "shims to close their files", || {
            files(case, &boxes).iter().zip(&before.2).all(|(now, before)| now <= before)
        });
        for n in 0..5 {
            waits(case, Wall::Process, &format!("fill{n}"), "ring");
        }
        let full = case.docker(["run", "--rm", "--isolation=process", "--network=ring", "busybox", "true"]).run();
        assert_eq!(full.code, 125, "{full}");
        assert_eq!(addresses(case, "ring").len(), 5);
    }
}

/// The interfaces in each container, and in each namespace.
fn insides(case: &Case, boxes: &[String]) -> Vec<String> {
    let look = |name: &String| {
        let id = case.inspect(name, "{{.Id}}");
        let netns = format!("--net={}", case.engine.exec_root().join("netns").join(id).display());
        let outside = case.engine.on_host("nsenter").args([&netns, "ip", "-o", "link"]).text();
        let outside = outside.lines().filter_map(|line| line.split(' ').nth(1)).collect::<Vec<_>>().join(" ");
        format!("{name}: {} in {outside}", case.exec(name, "cd /sys/class/net; echo *").ok())
    };
    boxes.iter().map(look).collect()
}

/// How many files each container's shim has open.
fn files(case: &Case, boxes: &[String]) -> Vec<usize> {
    let count = |name: &String| {
        let id = case.inspect(name, "{{.Id}}");
        let state = fs::read_to_string(case.engine.exec_root().join("shims").join(id).join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        fs::read_dir(format!("/proc/{}/fd", state["shim_pid"])).unwrap().count()
    };
    boxes.iter().map(count).collect()
}

/// Each box is connected to `ring` and disconnected in turn, all boxes at once,
/// until all together have done it `rounds` times; the engine is killed on the way.
fn in_rounds(case: &Case, boxes: &[String], rounds: usize) {
    /// The others end, also if one has panicked.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let refused: Mutex<BTreeMap<String, String>> = Mutex::default();
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for name in boxes {
            let (done, stop, refused) = (&done, &stop, &refused);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let ways = ["connect", "disconnect"].map(|way| case.docker(["network", way, "ring", name]).run());
                    match ways.iter().find(|output| output.code != 0) {
                        None => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Some(output) => drop(refused.lock().unwrap().insert(name.clone(), output.to_string())),
                    }
                }
            });
        }
        let limit = Duration::from_secs(60) + Duration::from_secs(2) * u32::try_from(rounds / KILLS).unwrap();
        for kill in 1..=KILLS + 1 {
            let so_far = rounds * kill / (KILLS + 1);
            let begin = Instant::now();
            while done.load(Ordering::Relaxed) < so_far {
                let refused = refused.lock().unwrap();
                assert!(begin.elapsed() < limit, "{done:?} of {rounds} rounds, and no more: {refused:#?}");
                drop(refused);
                thread::sleep(Duration::from_millis(7));
            }
            if kill <= KILLS {
                case.engine.end_by(Signal::SIGKILL);
                case.engine.launch();
            }
        }
    });
}
