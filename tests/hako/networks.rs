//! `hako network`, `hako port` and the flags about networks.

use hako_tests::{Wall, wait_until, with_networks};
use std::time::Duration;

#[test]
fn the_whole_life_of_a_network() {
    with_networks(Wall::Process, |case| {
        let hako = |args: &[&str]| case.engine.hako(args);
        let create = ["network", "create", "--subnet=10.88.0.0/24", "--gateway=10.88.0.1", "--label=a=b", "mine"];
        assert_eq!(hako(&create).text().len(), 64);
        assert_eq!(
            hako(&["network", "ls", "-f", "label=a", "--format", "{{.Name}} {{.Driver}}"]).text(),
            "mine bridge"
        );
        assert!(hako(&["network", "ls"]).text().starts_with("NETWORK ID"));
        let subnet = hako(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "mine"]).text();
        assert_eq!(subnet, "10.88.0.0/24");
        let script = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
        let network = "--network=name=mine,alias=site,ip=10.88.0.9";
        let web = ["run", "-d", "--name=web", network, "-p", "8080:80", "busybox", "sh", "-c", script];
        let _ = hako(&web).text();
        assert_eq!(hako(&["port", "web", "80"]).text().lines().next().unwrap(), "0.0.0.0:8080");
        assert!(hako(&["port", "web"]).text().contains("80/tcp -> 0.0.0.0:8080"));
        hako(&["port", "web", "81"]).run().fails(1, "no public port '81/tcp' published for web");
        assert!(hako(&["ps"]).text().contains("0.0.0.0:8080->80/tcp"));
        let request = r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 site 80 | tail -n 1";
        let fetch = ["run", "--rm", "--network=mine", "busybox", "sh", "-c", request];
        wait_until(Duration::from_secs(30), "the site", || hako(&fetch).run().out() == "hello");
        let hosts = ["run", "--rm", "--add-host=up:host-gateway", "--mac-address=02:00:00:00:00:07", "busybox"];
        let text = hako(&hosts).args(["cat", "/etc/hosts", "/sys/class/net/eth0/address"]).text();
        assert!(text.contains("\tup\n") && text.ends_with("02:00:00:00:00:07"), "{text}");
        let _ = hako(&["network", "connect", "--alias=again", "bridge", "web"]).run();
        let _ = hako(&["network", "create", "second"]).text();
        let _ = hako(&["network", "connect", "--alias=again", "second", "web"]).text();
        let names = hako(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "web"]).text();
        assert!(names.contains("second") && names.contains("again"), "{names}");
        let _ = hako(&["network", "disconnect", "second", "web"]).text();
        hako(&["network", "rm", "mine"]).run().fails(1, "has active endpoints");
        assert_eq!(hako(&["network", "rm", "-f", "nothing", "second"]).text(), "second");
        let _ = hako(&["rm", "-f", "web"]).text();
        assert_eq!(hako(&["network", "prune", "-f"]).text(), "Deleted Networks:\nmine");
        hako(&["network", "inspect", "mine"]).run().fails(1, "network mine not found");
        assert!(hako(&["inspect", "--type=network", "bridge"]).text().contains("172.17."));
    });
}
