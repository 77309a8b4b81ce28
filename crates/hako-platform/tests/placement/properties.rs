//! What must hold of every answer, whatever is asked.

use hako_model::Isolation::{self, Hyperv, Process};
use hako_platform::{
    Accelerator, Caller, Family, GuestKernel, Host, HostOs, Image, ImageVersion, Install, KernelVersion, LinuxHost,
    Manifest, OsVersion, Outcome, Platform, Policy, PolicyRule, Product, Request, Situation, VmOptions, WallState,
    WindowsHost, Wish, matrix, place,
};
use proptest::prelude::*;

/// Builds around every edge of the rules, and any others.
fn build() -> impl Strategy<Value = u32> {
    let known = vec![14393, 16299, 17134, 17763, 18362, 19041, 19042, 19045, 20348, 22000, 22621, 25398, 26100, 26200];
    prop_oneof![
        8 => prop::sample::select(known),
        1 => any::<u32>(),
        1 => 14000..30000_u32,
    ]
}

fn os_version() -> impl Strategy<Value = OsVersion> {
    let line = prop_oneof![9 => Just((10, 0)), 1 => (any::<u32>(), any::<u32>())];
    let revision = prop_oneof![Just(None), (900..1200_u32).prop_map(Some), any::<u32>().prop_map(Some)];
    (line, build(), revision).prop_map(|((major, minor), build, revision)| OsVersion { major, minor, build, revision })
}

fn image_version() -> impl Strategy<Value = ImageVersion> {
    prop_oneof![
        8 => os_version().prop_map(ImageVersion::Known),
        1 => Just(ImageVersion::Unsaid),
        1 => ".{0,12}".prop_map(|text| ImageVersion::read(&text)),
    ]
}

fn kernel() -> impl Strategy<Value = KernelVersion> {
    (4..8_u32, 0..20_u32, 0..3_u32).prop_map(|(major, minor, patch)| KernelVersion(major, minor, patch))
}

fn platform() -> impl Strategy<Value = Platform> {
    let os = prop_oneof![5 => Just("linux"), 5 => Just("windows"), 1 => Just("unknown"), 1 => Just("freebsd"), 1 => Just("")];
    let architecture =
        prop_oneof![5 => Just("amd64"), 3 => Just("arm64"), 1 => Just("arm"), 1 => Just("s390x"), 1 => Just("")];
    let variant = prop_oneof![5 => Just(""), 1 => Just("v2"), 1 => Just("v7"), 1 => Just("odd")];
    (os, architecture, variant).prop_map(|(os, architecture, variant)| Platform::new(os, architecture, variant))
}

fn wall() -> impl Strategy<Value = Isolation> {
    prop_oneof![Just(Process), Just(Hyperv)]
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let family =
        prop_oneof![Just(Family::Unknown), Just(Family::NanoServer), Just(Family::ServerCore), Just(Family::Win32k)];
    let wish = (prop::option::weighted(0.2, wall()), prop::option::weighted(0.2, kernel()));
    (platform(), image_version(), family, wish).prop_map(|(platform, version, family, (wall, kernel))| Manifest {
        platform,
        version,
        family,
        wish: Wish { wall, kernel, unread: Vec::new() },
        ..Manifest::default()
    })
}

fn image() -> impl Strategy<Value = Image> {
    let names =
        prop::collection::vec(prop::sample::select(vec!["busybox", "r.example/app:1", "evil.example/app"]), 0..3);
    let form =
        prop_oneof![manifest().prop_map(Image::of), prop::collection::vec(manifest(), 0..6).prop_map(Image::index),];
    (names, form).prop_map(|(names, image)| Image { names: names.into_iter().map(str::to_owned).collect(), ..image })
}

fn state() -> impl Strategy<Value = WallState> {
    prop_oneof![
        4 => Just(WallState::Works),
        2 => Just(WallState::Unprobed),
        1 => Just(WallState::Lacks(vec!["something".to_owned()])),
    ]
}

fn guest() -> impl Strategy<Value = GuestKernel> {
    let name = prop::sample::select(vec!["default", "other", "added"]);
    (name, platform(), prop::option::of(kernel()))
        .prop_map(|(name, platform, kernel)| GuestKernel { kernel, ..GuestKernel::new(name, &platform) })
}

fn host_os() -> impl Strategy<Value = HostOs> {
    let interpreters = prop::collection::vec(prop::sample::select(vec!["arm64", "arm", "386"]), 0..3);
    let linux = (prop::option::of(kernel()), interpreters).prop_map(|(kernel, names)| {
        HostOs::Linux(LinuxHost { kernel, interpreters: names.into_iter().map(str::to_owned).collect() })
    });
    let product = prop_oneof![Just(Product::Client), Just(Product::Server)];
    let install = prop_oneof![Just(Install::Full), Just(Install::Core), Just(Install::Nano)];
    let edition = prop::sample::select(vec!["", "standard", "datacenter"]);
    let windows = (os_version(), product, install, edition).prop_map(|(version, product, install, edition)| {
        HostOs::Windows(WindowsHost { version, product, install, edition: edition.to_owned() })
    });
    prop_oneof![linux, windows]
}

fn host() -> impl Strategy<Value = Host> {
    let architecture = prop::sample::select(vec!["amd64", "arm64", "arm"]);
    let variant = prop::sample::select(vec!["", "v3", "v8"]);
    let room =
        (prop_oneof![Just(0_u32), 1..64_u32], prop_oneof![Just(0_u64), (64..65536_u64).prop_map(|mib| mib << 20)]);
    let walls = (state(), state());
    let guests = prop::collection::vec(guest(), 0..4);
    (architecture, variant, host_os(), guests, walls, room, any::<bool>()).prop_map(
        |(architecture, variant, os, guests, (process, hyperv), (cpus, memory), emulated)| Host {
            variant: variant.to_owned(),
            guests,
            process,
            hyperv,
            cpus,
            memory,
            emulated,
            ..Host::new(architecture, os)
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let texts = |all: Vec<&'static str>| {
        prop::collection::vec(prop::sample::select(all), 0..2)
            .prop_map(|list| list.into_iter().map(str::to_owned).collect::<Vec<String>>())
    };
    let images = || texts(vec!["*", "r.example/*", "docker.io/library/*", "sha256:*", "*evil*"]);
    let users = || texts(vec!["root", "guest*"]);
    let rule = (images(), images(), users(), users(), wall()).prop_map(
        |(images, except_images, users, except_users, least)| PolicyRule {
            images,
            except_images,
            users,
            except_users,
            ..PolicyRule::new("rule", &[], least)
        },
    );
    prop::collection::vec(rule, 0..3).prop_map(Policy)
}

fn vm() -> impl Strategy<Value = VmOptions> {
    let kernel = prop::option::weighted(0.2, prop::sample::select(vec!["default", "other", "missing"]));
    let memory = prop::option::weighted(0.2, prop_oneof![1..4096_u64, any::<u64>()]);
    let accelerator =
        prop::option::weighted(0.1, prop::sample::select(vec![Accelerator::Auto, Accelerator::Kvm, Accelerator::Tcg]));
    (kernel, memory, prop::option::weighted(0.1, 1..16_u32), accelerator).prop_map(
        |(kernel, memory_mib, cpus, accelerator)| VmOptions {
            kernel: kernel.map(str::to_owned),
            memory_mib,
            cpus,
            accelerator,
            ..VmOptions::default()
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let walls = (prop::option::of(wall()), prop::option::of(wall()));
    let limits = (
        prop_oneof![3 => Just(0_u64), 1 => any::<u64>(), 2 => 1..(8_u64 << 30)],
        prop_oneof![Just(0_u64), any::<u64>()],
    );
    let user = prop::option::of(prop::sample::select(vec!["root", "guest1"]));
    (walls, prop::option::weighted(0.3, platform()), (vm(), vm()), prop::bool::weighted(0.2), limits, policy(), user)
        .prop_map(
            |(
                (isolation, engine_default),
                platform,
                (vm, vm_default),
                allow_newer,
                (memory, nano_cpus),
                policy,
                user,
            )| Request {
                isolation,
                platform,
                engine_default,
                vm,
                vm_default,
                allow_newer,
                memory,
                nano_cpus,
                policy,
                caller: Caller { users: user.map(str::to_owned).into_iter().collect(), socket: None },
            },
        )
}

fn no_thinner(wall: Isolation, least: Isolation) -> bool {
    wall == Hyperv || least == Process
}

/// The thinnest wall of a policy by its words alone: any rule that matches and
/// says hyperv.
fn least_of(image: &Image, request: &Request) -> Isolation {
    if request.policy.applying(image, &request.caller).is_some() { Hyperv } else { Process }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No panic, no wall thinner than anybody asks for, and every remedy works.
    #[test]
    fn every_answer_is_sound(image in image(), host in host(), request in request()) {
        match place(&image, &host, &request) {
            Ok(placement) => {
                prop_assert!(no_thinner(placement.wall, least_of(&image, &request)));
                if let Some(asked) = request.isolation {
                    prop_assert_eq!(placement.wall, asked);
                }
                if let Some(default) = request.engine_default.filter(|_| request.isolation.is_none()) {
                    prop_assert!(no_thinner(placement.wall, default));
                }
                let manifest = &image.manifests()[placement.manifest];
                if let Some(least) = manifest.wish.wall.filter(|_| !manifest.is_unnamed()) {
                    prop_assert!(no_thinner(placement.wall, least));
                }
                prop_assert!(!matches!(host.wall(placement.wall), WallState::Lacks(_)));
                if let Some(guest) = &placement.kernel {
                    prop_assert!(host.guests.contains(guest) && placement.wall == Hyperv);
                }
                prop_assert!(placement.sizing.is_none() || placement.wall == Hyperv);
                prop_assert!(!placement.trace.is_empty());
            }
            Err(refusal) => {
                prop_assert!(!refusal.remedies.is_empty(), "{} has no remedy", refusal);
                prop_assert!(refusal.trace.iter().any(|applied| applied.outcome == Outcome::Refused), "{:?}", refusal.trace);
                for remedy in &refusal.remedies {
                    let situation = Situation { image: image.clone(), host: host.clone(), request: request.clone() };
                    let after = remedy.follow(situation);
                    prop_assert!(place(&after.image, &after.host, &after.request).is_ok(), "{}", remedy);
                    prop_assert_eq!(&after.request.policy, &request.policy, "a remedy changes no policy");
                    prop_assert!(!remedy.to_string().is_empty());
                }
            }
        }
    }

    /// A rule more never makes a wall thinner.
    #[test]
    fn policies_only_thicken(image in image(), host in host(), request in request(), more in policy()) {
        let mut stricter = request.clone();
        stricter.policy.0.extend(more.0);
        if let (Ok(before), Ok(after)) = (place(&image, &host, &request), place(&image, &host, &stricter)) {
            prop_assert!(no_thinner(after.wall, before.wall));
        }
        prop_assert!(no_thinner(least_of(&image, &stricter), least_of(&image, &request)));
    }

    /// Of one build an index gives a revision that no other beats, as numbers.
    #[test]
    fn the_best_manifest_is_taken(
        host in build(), builds in prop::collection::vec((build(), 0..5000_u32), 1..8), wall in wall()
    ) {
        let of = |(build, revision): &(u32, u32)| {
            Manifest::windows(OsVersion { revision: Some(*revision), ..OsVersion::of_build(*build) })
        };
        let own = Host::windows(OsVersion::of_build(host), Product::Server);
        let request = Request { isolation: Some(wall), ..Request::default() };
        let image = Image::index(builds.iter().map(of).collect());
        let alone = |at: &&(u32, u32)| place(&Image::of(of(at)), &own, &request).is_ok();
        let best = builds.iter().filter(alone).max_by_key(|(build, revision)| (*build == host, *build, *revision));
        match (place(&image, &own, &request), best) {
            (Ok(placement), Some(best)) => prop_assert_eq!(&builds[placement.manifest], best),
            (Err(_), None) => {}
            (answer, best) => prop_assert!(false, "{:?} {:?}", answer, best),
        }
    }

    /// JSON from outside is read or refused.
    #[test]
    fn json_never_panics(text in ".{0,200}") {
        let _ = serde_json::from_str::<Host>(&text);
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            let _ = Image::from_json(&value);
        }
        let _ = (text.parse::<OsVersion>(), text.parse::<KernelVersion>(), Platform::parse(&text));
    }

    #[test]
    fn json_of_the_right_shape_never_panics(version in ".{0,20}", os in "linux|windows|.{0,5}", label in ".{0,10}") {
        let value = serde_json::json!({"os": os, "architecture": "amd64", "os.version": version,
            "config": {"Labels": {"hako.isolation.minimum": label, "hako.kernel.minimum": label}}});
        if let Ok(image) = Image::from_json(&value) {
            for host in [Host::linux("amd64"), Host::named("windows-server-2019").unwrap()] {
                let _ = matrix::cell(&host, &image);
            }
        }
    }

    /// What was read is written, and read as the same.
    #[test]
    fn hosts_survive_json(host in host()) {
        let again = |host: &Host| serde_json::from_str::<Host>(&serde_json::to_string(host).unwrap()).unwrap();
        let read = again(&host);
        prop_assert_eq!(&read.os, &host.os);
        prop_assert_eq!(again(&read), read);
    }
}
