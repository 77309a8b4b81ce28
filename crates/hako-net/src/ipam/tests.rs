use super::*;
use proptest::prelude::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn subnet(text: &str) -> Subnet {
    Subnet::new(net(text), None, None, BTreeMap::new()).unwrap()
}

#[test]
fn addresses_ascend_and_the_gateway_is_the_first() {
    let subnet = subnet("172.17.0.0/16");
    assert_eq!(subnet.gateway, ip("172.17.0.1"));
    let mut used = BTreeSet::new();
    for last in 2..300_u32 {
        let address = subnet.allocate(&used, None).unwrap();
        assert_eq!(address, IpAddr::from(Ipv4Addr::from(0xac11_0000 + last)));
        used.insert(address);
    }
    used.remove(&ip("172.17.0.5"));
    assert_eq!(subnet.allocate(&used, None).unwrap(), ip("172.17.0.5"), "the lowest free one");
    assert_eq!(subnet.allocate(&used, Some(ip("172.17.1.43"))).unwrap(), ip("172.17.1.44"));
    let end = Some(ip("172.17.255.254"));
    assert_eq!(subnet.allocate(&used, end).unwrap(), ip("172.17.0.5"), "from the beginning again");
}

#[test]
fn ranges_gateways_and_auxiliary_addresses() {
    let aux = BTreeMap::from([("router".to_owned(), ip("10.1.2.1"))]);
    let given = Subnet::new(net("10.1.0.0/16"), Some(net("10.1.2.0/30")), Some(ip("10.1.2.2")), aux).unwrap();
    let first = given.allocate(&BTreeSet::new(), None).unwrap();
    assert_eq!(first, ip("10.1.2.0"), "a range's first address is one like the others");
    let mut used = BTreeSet::from([first]);
    used.insert(given.allocate(&used, None).unwrap());
    assert_eq!(used.last(), Some(&ip("10.1.2.3")), "neither the gateway nor the router");
    assert!(matches!(given.allocate(&used, None), Err(Error::NoAddress(_))));
    given.fixed(ip("10.1.9.9"), &used).unwrap();
    assert!(matches!(given.fixed(ip("10.1.2.2"), &used), Err(Error::AddressInUse(_))), "the gateway");
    assert!(matches!(given.fixed(ip("10.1.2.3"), &used), Err(Error::AddressInUse(_))));
    assert!(matches!(given.fixed(ip("10.1.0.0"), &used), Err(Error::AddressInUse(_))), "the network");
    assert!(matches!(given.fixed(ip("10.1.255.255"), &used), Err(Error::AddressInUse(_))), "everybody");
    assert!(matches!(given.fixed(ip("10.2.0.1"), &used), Err(Error::OutOfRange(_))));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let new = |subnet: &str, range: Option<&str>, gateway: Option<&str>, aux: Option<&str>| {
        let aux = aux.map(|address| ("a".to_owned(), ip(address))).into_iter().collect();
        Subnet::new(net(subnet), range.map(net), gateway.map(ip), aux).map_err(|err| err.to_string())
    };
    assert_eq!(
        new("10.0.0.1/24", None, None, None).unwrap_err(),
        "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"
    );
    assert_eq!(
        new("10.0.0.0/24", Some("10.0.1.0/25"), None, None).unwrap_err(),
        "no matching subnet for range 10.0.1.0/25"
    );
    assert_eq!(
        new("10.0.0.0/24", Some("10.0.0.0/16"), None, None).unwrap_err(),
        "no matching subnet for range 10.0.0.0/16"
    );
    assert_eq!(
        new("10.0.0.0/24", None, Some("10.0.1.1"), None).unwrap_err(),
        "no matching subnet for gateway 10.0.1.1"
    );
    assert_eq!(
        new("10.0.0.0/24", None, None, Some("fd00::1")).unwrap_err(),
        "no matching subnet for aux-address fd00::1"
    );
    assert!(new("10.0.0.0/32", None, Some("10.0.0.0"), None).unwrap().allocate(&BTreeSet::new(), None).is_err());
}

#[test]
fn small_subnets_and_ipv6() {
    let pair = subnet("10.0.0.0/31");
    assert_eq!(pair.allocate(&BTreeSet::from([pair.gateway]), None).unwrap(), ip("10.0.0.1"));
    let v6 = subnet("fd00:1::/64");
    assert_eq!(v6.gateway, ip("fd00:1::1"));
    assert_eq!(v6.allocate(&BTreeSet::new(), None).unwrap(), ip("fd00:1::2"));
    let all = subnet("::/0");
    assert_eq!(
        all.allocate(&BTreeSet::new(), Some(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"))).unwrap(),
        ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    );
}

#[test]
fn subnets_come_from_the_pools_in_order() {
    let pools = default_pools();
    assert_eq!(pick_subnet(&pools, false, &[]).unwrap(), net("172.17.0.0/16"));
    let mut taken = vec![net("172.17.4.0/24"), net("172.18.0.0/15")];
    assert_eq!(pick_subnet(&pools, false, &taken).unwrap(), net("172.20.0.0/16"));
    taken.push(net("172.16.0.0/12"));
    assert_eq!(pick_subnet(&pools, false, &taken).unwrap(), net("192.168.0.0/20"));
    taken.push(net("192.168.0.0/17"));
    assert_eq!(pick_subnet(&pools, false, &taken).unwrap(), net("192.168.128.0/20"));
    taken.push(net("192.0.0.0/8"));
    assert!(matches!(pick_subnet(&pools, false, &taken), Err(Error::NoPool)));
    assert!(matches!(pick_subnet(&pools, true, &[]), Err(Error::NoPool)));
    let ula = ula_pool(b"one host");
    assert_ne!(ula, ula_pool(b"another"));
    let first = pick_subnet(&[ula], true, &[]).unwrap();
    assert_eq!((first.prefix_len(), first.network()), (64, ula.base.network()));
    assert_ne!(pick_subnet(&[ula], true, &[first]).unwrap(), first);
}

proptest! {
    /// Whatever is taken and given back in whatever order, nobody has an
    /// address of somebody else, and none is refused while one is free.
    #[test]
    fn no_address_is_given_twice(
        prefix in 24_u8..=30,
        v6 in any::<bool>(),
        gateway in 1_u32..3,
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400),
        after_last in any::<bool>(),
    ) {
        let base = if v6 { "fd00::" } else { "10.0.0.0" };
        let prefix = if v6 { prefix + 96 } else { prefix };
        let range = net(&format!("{base}/{prefix}"));
        let gateway = address(number(range.addr()) + u128::from(gateway), range.addr());
        let subnet = Subnet::new(range, None, Some(gateway), BTreeMap::new()).unwrap();
        let room = (1_usize << (range.max_prefix_len() - prefix)) - if v6 { 2 } else { 3 };
        let mut used = BTreeSet::new();
        let mut last = None;
        for (take, index) in steps {
            if take {
                match subnet.allocate(&used, last.filter(|_| after_last)) {
                    Ok(address) => {
                        prop_assert!(range.contains(&address) && address != gateway && subnet.is_host(address));
                        prop_assert!(used.insert(address), "{address} is given twice");
                        subnet.fixed(address, &BTreeSet::new()).unwrap();
                        last = Some(address);
                    }
                    Err(err) => prop_assert_eq!(used.len(), room, "{} too soon", err),
                }
            } else if !used.is_empty() {
                let gone = *used.iter().nth(index.index(used.len())).unwrap();
                used.remove(&gone);
            }
        }
    }

    /// Subnets that are picked never overlap, with each other or with what was there.
    #[test]
    fn no_two_subnets_overlap(
        others in prop::collection::vec((any::<u32>(), 8_u8..=32), 0..20),
        many in 1_usize..60,
    ) {
        let others = others.into_iter().map(|(a, p)| IpNet::new_assert(Ipv4Addr::from(a).into(), p).trunc());
        let mut taken: Vec<IpNet> = others.collect();
        for _ in 0..many {
            let Ok(picked) = pick_subnet(&default_pools(), false, &taken) else { break };
            for other in &taken {
                prop_assert!(!picked.contains(&other.network()) && !other.contains(&picked.network()));
            }
            taken.push(picked);
        }
    }
}
