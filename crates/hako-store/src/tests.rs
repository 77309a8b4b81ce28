use super::*;
use std::io::Write;

fn digest(n: u8) -> Digest {
    Digest::from_sha256([n; 32])
}

fn layer(store: &Store, n: u8) -> Digest {
    let tmp = store.temp_dir().unwrap();
    let dir = tmp.path().join("x");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), [n]).unwrap();
    let chain = digest(n);
    let new = NewLayer { chain: &chain, parent: None, diff: &chain, size: 1, blob: None, media_type: None };
    store.commit_layer(&dir, &new).unwrap();
    chain
}

fn image(store: &Store, config: &[u8], chains: &[Digest], names: &[&str]) -> Digest {
    let mut lease = store.lease();
    let id = Digest::from_sha256(<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(config)));
    lease.hold(&id);
    store.put_blob(config, Some(&id)).unwrap();
    let refs = names.iter().map(|n| NewRef { name: (*n).to_owned(), target: None, manifest: None }).collect();
    let new = NewImage {
        id: id.clone(),
        size: 1,
        created: None,
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: String::new(),
        chains: chains.to_vec(),
        blobs: vec![],
        refs,
    };
    store.put_image(&new).unwrap();
    id
}

#[test]
fn content_is_verified_and_nothing_wrong_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(store.put_blob(b"x", Some(&digest(1))), Err(Error::Digest { .. })));
    let mut writer = store.write_blob(None, Some(3)).unwrap();
    writer.write_all(b"abc").unwrap();
    assert!(writer.write_all(b"d").is_err());
    let mut short = store.write_blob(None, Some(3)).unwrap();
    short.write_all(b"ab").unwrap();
    assert!(matches!(short.finish(), Err(Error::Size { .. })));
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn shared_layers_stay_and_the_rest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (base, a, b) = (layer(&store, 1), layer(&store, 2), layer(&store, 3));
    let one = image(&store, b"one", &[base.clone(), a.clone()], &["x:1"]);
    let two = image(&store, b"two", &[base.clone(), b.clone()], &["x:2"]);
    assert_eq!(store.delete_image(&one).unwrap(), [a]);
    assert!(store.reference("x:1").unwrap().is_none() && !store.has_blob(&one));
    assert_eq!(store.image_layers(&two).unwrap().len(), 2);
    store.delete_image(&two).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("layers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn a_lease_keeps_what_has_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut lease = store.lease();
    let blob = store.put_blob(b"kept", None).unwrap();
    lease.hold(&blob);
    let chain = layer(&store, 1);
    lease.hold(&chain);
    store.collect().unwrap();
    assert!(store.has_blob(&blob) && store.layer(&chain).unwrap().is_some());
    drop(lease);
    assert_eq!(store.collect().unwrap(), [chain]);
    assert!(!store.has_blob(&blob));
}

#[test]
fn an_open_after_a_kill_removes_what_is_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let kept = {
        let store = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::InUse(_))));
        let chain = layer(&store, 1);
        layer(&store, 2);
        let kept = image(&store, b"kept", &[chain], &["x:1"]);
        store.put_blob(b"orphan", None).unwrap();
        std::fs::create_dir(dir.path().join("layers/77")).unwrap();
        std::fs::write(dir.path().join("tmp/b1"), "half").unwrap();
        std::fs::write(dir.path().join("erofs/00.erofs"), "half").unwrap();
        kept
    };
    let store = Store::open(dir.path()).unwrap();
    let count = |d: &str| std::fs::read_dir(dir.path().join(d)).unwrap().count();
    assert_eq!((count("layers"), count("blobs/sha256"), count("tmp"), count("erofs")), (1, 1, 0, 0));
    assert_eq!(store.image_layers(&kept).unwrap().len(), 1);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("layers/1")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn names_of_containers_are_unique() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = image(&store, b"one", &[], &[]);
    let put = |id: &str, name: &str, json: &str| store.put_container(id, name, image.as_str(), json);
    put("a", "x", "{}").unwrap();
    put("a", "x", "{1}").unwrap();
    let err = put("b", "x", "{}").unwrap_err();
    assert!(err.to_string().contains("already in use by container \"a\""), "{err}");
    put("b", "y", "{}").unwrap();
    assert!(matches!(put("b", "x", "{}"), Err(Error::NameTaken { .. })));
    assert!(store.delete_container("a").unwrap());
    put("b", "x", "{}").unwrap();
    assert_eq!(store.containers().unwrap().len(), 1);
}

/// Whichever is first: there is never a container whose image is gone.
#[test]
fn a_container_and_the_removal_of_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let name = ["docker.io/library/a:1".to_owned()];
    let id = image(&store, b"a", &[layer(&store, 1)], &[&name[0]]);
    store.put_container("a", "x", id.as_str(), "{}").unwrap();
    // As a look before the container was there decided.
    assert_eq!(store.remove_image(&id, &name, false).unwrap(), Removal::InUse("a".to_owned()));
    assert_eq!(store.references(Some(&id)).unwrap().len(), 1);
    assert_eq!(store.remove_image(&id, &name, true).unwrap(), Removal::Hidden);
    assert_eq!(store.remove_image(&id, &[], false).unwrap(), Removal::InUse("a".to_owned()));
    // A record that was written once is written again, whatever became of its image.
    let other = digest(9);
    assert!(matches!(store.put_container("b", "y", other.as_str(), "{}"), Err(Error::NotFound(_))));
    store.delete_container("a").unwrap();
    assert!(matches!(store.remove_image(&id, &[], false).unwrap(), Removal::Gone(layers) if layers.len() == 1));
    assert!(matches!(store.put_container("a", "x", id.as_str(), "{}"), Err(Error::NotFound(_))));
    assert!(store.containers().unwrap().is_empty());
}

/// Records of an engine before format 4 say in their text which image they are of.
#[test]
fn containers_of_an_older_format_keep_their_images() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = image(&store, b"a", &[layer(&store, 1)], &["docker.io/library/a:1"]);
    drop(store);
    let db = Connection::open(dir.path().join("hako.db")).unwrap();
    db.execute_batch(
        "DROP INDEX containers_image; ALTER TABLE containers DROP COLUMN image;
         DROP TABLE volumes; DROP TABLE addresses; DROP TABLE sandboxes; DROP TABLE networks;",
    )
    .unwrap();
    let json = format!("{{\"image_id\":\"{id}\"}}");
    db.execute("INSERT INTO containers (id, name, json) VALUES ('a', 'x', ?1), ('b', 'y', 'no json')", [json]).unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
    drop(db);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.remove_image(&id, &[], false).unwrap(), Removal::Named);
    let name = ["docker.io/library/a:1".to_owned()];
    assert_eq!(store.remove_image(&id, &name, false).unwrap(), Removal::InUse("a".to_owned()));
    assert_eq!(store.containers().unwrap().len(), 2);
}

#[test]
fn ids_by_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = image(&store, b"one", &[], &[]);
    assert_eq!(store.images_by_prefix(id.short()).unwrap().len(), 1);
    assert_eq!(store.images_by_prefix(id.hex()).unwrap().len(), 1);
    assert!(store.images_by_prefix("zz").unwrap().is_empty());
}

/// An image for a platform, under `name`, of the index (or manifest) `target`.
fn pulled(store: &Store, arch: &str, name: &str, target: u8) -> Digest {
    let config = format!("{arch} {target}");
    let id = Digest::from_sha256(<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&config)));
    let mut lease = store.lease();
    lease.hold(&id);
    store.put_blob(config.as_bytes(), Some(&id)).unwrap();
    let names = NewRef { name: name.to_owned(), target: Some(digest(target)), manifest: None };
    let new = NewImage {
        id: id.clone(),
        size: 1,
        created: None,
        os: "linux".into(),
        architecture: arch.to_owned(),
        variant: String::new(),
        chains: vec![],
        blobs: vec![],
        refs: vec![names],
    };
    store.put_image(&new).unwrap();
    id
}

#[test]
fn a_name_leads_to_every_platform_of_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let own = hako_model::policy::native_arch();
    let images = |name: &str| -> Vec<Digest> {
        store.references_named(name).unwrap().into_iter().map(|row| row.image).collect()
    };
    let foreign = pulled(&store, "m68k", "x:1", 1);
    assert_eq!(store.reference("x:1").unwrap().unwrap().image, foreign);
    let host = pulled(&store, own, "x:1", 1);
    let _again = pulled(&store, "m68k", "x:1", 1);
    assert_eq!(images("x:1"), [host.clone(), foreign.clone()], "this host's goes first");
    // The name has moved on to another index.
    let newer = pulled(&store, own, "x:1", 2);
    assert_eq!(images("x:1"), std::slice::from_ref(&newer));
    // A tag leads where it says, also to another platform of the same index.
    let beside = pulled(&store, "m68k", "x:1", 2);
    assert_eq!(images("x:1").len(), 2);
    store.put_ref(&beside, &NewRef { name: "x:1".into(), target: Some(digest(2)), manifest: None }).unwrap();
    assert_eq!(images("x:1"), std::slice::from_ref(&beside));
    let both = |id: &Digest| (id.clone(), NewRef { name: "y:1".into(), target: Some(digest(2)), manifest: None });
    store.put_refs(&[both(&newer), both(&beside)]).unwrap();
    store.delete_refs_of(&newer, &["y:1".to_owned()]).unwrap();
    assert_eq!(images("y:1"), std::slice::from_ref(&beside));
    assert_eq!(store.references(Some(&beside)).unwrap().len(), 2);
    store
        .keep(&beside, &[(digest(9), "t".into())], &[NewRef { name: "z".into(), target: None, manifest: None }])
        .unwrap();
    assert_eq!(store.kept(&beside).unwrap(), [(digest(9), "t".to_owned())]);
    assert_eq!(images("z"), std::slice::from_ref(&beside));
    assert!(store.keep(&digest(8), &[(digest(9), "t".into())], &[]).is_err(), "there is no such image");
}

#[test]
fn names_of_the_first_format_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let id = {
        let store = Store::open(dir.path()).unwrap();
        let id = image(&store, b"old", &[], &["x:1", "x:2"]);
        let db = store.db();
        db.execute_batch(
            "CREATE TABLE old (name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
                 target TEXT, manifest TEXT, platform TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
             INSERT INTO old (name, image) SELECT name, image FROM refs;
             DROP TABLE refs; ALTER TABLE old RENAME TO refs; CREATE INDEX refs_image ON refs(image);
             DROP TABLE build_steps; DROP TABLE build_containers; DROP TABLE volumes;
             DROP INDEX containers_image; ALTER TABLE containers DROP COLUMN image;
             DROP TABLE addresses; DROP TABLE sandboxes; DROP TABLE networks;
             PRAGMA user_version = 1;",
        )
        .unwrap();
        id
    };
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.references(Some(&id)).unwrap().len(), 2);
}

#[test]
fn a_step_is_no_image_until_it_is_shown() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let chain = layer(&store, 1);
    let config = br#"{"step":1}"#;
    let id = Digest::from_sha256(<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(config)));
    store.put_blob(config, Some(&id)).unwrap();
    let new = NewImage {
        id: id.clone(),
        size: 1,
        created: None,
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: String::new(),
        chains: vec![chain],
        blobs: Vec::new(),
        refs: Vec::new(),
    };
    let step = |key: &str| NewStep {
        key: key.to_owned(),
        parent: String::new(),
        kind: "regular".into(),
        description: "RUN".into(),
        size: 1,
    };
    store.put_step(&new, &step("a")).unwrap();
    assert_eq!((store.images().unwrap().len(), store.step("a").unwrap()), (0, Some(id.clone())));
    let names = |name: &str| vec![NewRef { name: name.to_owned(), target: None, manifest: None }];
    store.show_image(&id, &names("docker.io/library/x:latest")).unwrap();
    assert_eq!(store.images().unwrap().len(), 1);
    assert!(store.steps().unwrap()[0].shown && store.steps().unwrap()[0].shared);
    // Removed, it is the cache's alone again; the next engine finds it too.
    store.delete_image(&id).unwrap();
    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert_eq!((store.images().unwrap().len(), store.step("a").unwrap()), (0, Some(id.clone())));
    assert_eq!((store.image_layers(&id).unwrap().len(), store.references(None).unwrap().len()), (1, 0));
    // What a build stands on stays.
    let mut lease = store.lease();
    lease.hold(&id);
    store.delete_steps(&["a".to_owned()]).unwrap();
    assert!(store.image(&id).unwrap().is_some());
    drop(lease);
    store.delete_steps(&[]).unwrap();
    assert!(store.image(&id).unwrap().is_none() && !store.has_blob(&id));
}

fn is_hidden(store: &Store, id: &Digest) -> Option<bool> {
    store.image(id).unwrap().map(|image| image.hidden)
}

#[test]
fn a_hidden_image_ends_with_its_last_container() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let chains = [layer(&store, 1), layer(&store, 2), layer(&store, 3)];
    let used = image(&store, b"used", &chains[..1], &["docker.io/library/a:1"]);
    let unused = image(&store, b"unused", &chains[1..2], &["docker.io/library/b:1"]);
    let listed = image(&store, b"listed", &chains[2..], &[]);
    store.put_container("a", "x", used.as_str(), "{}").unwrap();
    // Only its name, as a label may have it, needs nothing.
    store.put_container("b", "y", unused.as_str(), "{}").unwrap();
    store.put_container("c", "z", listed.as_str(), &format!("{{\"label\":\"{unused}\"}}")).unwrap();
    for (id, name) in [(&used, "docker.io/library/a:1"), (&unused, "docker.io/library/b:1")] {
        assert_eq!(store.remove_image(id, &[name.to_owned()], true).unwrap(), Removal::Hidden);
    }
    // Then a kill, between the removal of the container and that of its image.
    store.delete_container("b").unwrap();
    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert!(store.has_blob(&used) && is_hidden(&store, &used) == Some(true));
    assert!(!store.has_blob(&unused) && is_hidden(&store, &unused).is_none());
    assert_eq!(is_hidden(&store, &listed), Some(false));
    assert_eq!(store.layers().unwrap().len(), 2);
}

#[test]
fn a_removed_image_is_not_named_again() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    let id = image(&store, b"a", &[layer(&store, 1)], &["docker.io/library/a:1"]);
    let name = |name: &str| [NewRef { name: name.to_owned(), target: None, manifest: None }];
    store.keep(&id, &[], &name("docker.io/library/a:2")).unwrap();
    assert_eq!(store.references(Some(&id)).unwrap().len(), 2);
    let both = ["docker.io/library/a:1", "docker.io/library/a:2"].map(str::to_owned);
    // The other name came after the look.
    assert_eq!(store.remove_image(&id, &both[..1], true).unwrap(), Removal::Named);
    assert!(is_hidden(&store, &id) == Some(false) && store.references(Some(&id)).unwrap().len() == 1);
    assert_eq!(store.remove_image(&id, &[], false).unwrap(), Removal::Named);
    store.put_container("a", "x", id.as_str(), "{}").unwrap();
    assert_eq!(store.remove_image(&id, &both, true).unwrap(), Removal::Hidden);
    store.keep(&id, &[], &name("docker.io/library/a:3")).unwrap();
    assert!(store.references(None).unwrap().is_empty() && is_hidden(&store, &id) == Some(true));
    store.delete_container("a").unwrap();
    assert!(matches!(store.remove_image(&id, &[], false).unwrap(), Removal::Gone(layers) if layers.len() == 1));
    store.keep(&id, &[], &name("docker.io/library/a:3")).unwrap();
    assert!(store.references(None).unwrap().is_empty());
}

#[test]
fn a_check_makes_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let empty = Store::open_to_check(root.path());
    assert!(matches!(empty, Err(Error::NoStore { missing: "hako.db", .. })));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    let id = image(&Store::open(root.path()).unwrap(), b"a", &[], &[]);
    let store = Store::open_to_check(root.path()).unwrap();
    assert!(store.check().unwrap().is_empty() && store.image(&id).unwrap().is_some());
    assert!(store.put_container("a", "x", id.as_str(), "{}").is_err());
    assert!(matches!(Store::open_to_check(root.path()), Err(Error::InUse(_))));
    drop(store);
    let version = |n: i64| {
        let db = Connection::open(root.path().join("hako.db")).unwrap();
        db.pragma_update(None, "user_version", n).unwrap();
    };
    for other in [1, 99] {
        version(other);
        assert!(matches!(Store::open_to_check(root.path()), Err(Error::Format { found, .. }) if found == other));
    }
}

fn volume(name: &str) -> VolumeRow {
    VolumeRow { name: name.to_owned(), json: "{}".to_owned() }
}

fn volume_names(store: &Store) -> Vec<String> {
    store.volumes().unwrap().into_iter().map(|row| row.name).collect()
}

#[test]
fn volumes_outlive_a_restart_and_their_leftovers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.put_volume(&volume("kept"), None).unwrap());
    assert!(!store.put_volume(&volume("kept"), None).unwrap());
    std::fs::write(store.volume_data("kept").join("f"), "x").unwrap();
    assert!(store.put_volume(&volume("claimed"), Some("one")).unwrap());
    assert!(store.put_volume(&volume("lost"), Some("two")).unwrap());
    std::fs::write(store.volume_data("lost").join("f"), "x").unwrap();
    let image = image(&store, b"of", &[layer(&store, 1)], &[]);
    store.put_container("one", "name", image.as_str(), "{}").unwrap();
    store.claim_volumes("one").unwrap();
    store.delete_container("one").unwrap();
    // A removal that was cut off, a create before its row, half a first content, and a stranger.
    store.put_volume(&volume("half"), None).unwrap();
    store.db().execute("UPDATE volumes SET gone = 1 WHERE name = 'half'", []).unwrap();
    std::fs::create_dir_all(dir.path().join("volumes/early/_data")).unwrap();
    std::fs::create_dir_all(store.volume_part("kept").join("deep")).unwrap();
    std::fs::create_dir_all(dir.path().join("volumes/strange/_data")).unwrap();
    std::fs::write(dir.path().join("volumes/strange/_data/f"), "x").unwrap();
    assert_eq!(volume_names(&store), ["claimed", "kept", "lost"]);
    drop(store);

    let store = Store::open(dir.path()).unwrap();
    assert_eq!(volume_names(&store), ["claimed", "kept"]);
    let mut folders = files::names(&dir.path().join("volumes")).unwrap();
    folders.sort();
    assert_eq!(folders, ["claimed", "kept", "strange"]);
    assert!(store.volume_data("kept").join("f").exists() && !store.volume_part("kept").exists());
    // A removal that has failed is finished by who wants the name.
    store.db().execute("UPDATE volumes SET gone = 1 WHERE name = 'claimed'", []).unwrap();
    std::fs::write(store.volume_data("claimed").join("old"), "x").unwrap();
    assert!(store.put_volume(&volume("claimed"), None).unwrap());
    assert!(!store.volume_data("claimed").join("old").exists());
    assert!(store.remove_volume("kept").unwrap() && !store.remove_volume("kept").unwrap());
    assert!(store.volume("kept").unwrap().is_none() && !dir.path().join("volumes/kept").exists());
    assert_eq!(files::names(&dir.path().join("tmp")).unwrap(), [] as [String; 0]);
}

#[test]
fn a_volume_of_any_depth_can_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_volume(&volume("deep"), None).unwrap();
    // Built from the inside out: no path reaches its end.
    let (data, name) = (store.volume_data("deep"), "n".repeat(100));
    std::fs::create_dir(data.join(&name)).unwrap();
    for _ in 0..3000 {
        std::fs::create_dir(data.join("next")).unwrap();
        std::fs::rename(data.join(&name), data.join("next").join(&name)).unwrap();
        std::fs::rename(data.join("next"), data.join(&name)).unwrap();
    }
    assert!(store.remove_volume("deep").unwrap());
    assert_eq!(files::names(&dir.path().join("tmp")).unwrap(), [] as [String; 0]);
}

#[test]
fn first_content_is_there_at_once_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_volume(&volume("v"), None).unwrap();
    let part = store.volume_part("v");
    std::fs::create_dir(&part).unwrap();
    std::fs::write(part.join("f"), "x").unwrap();
    store.fill_volume("v").unwrap();
    assert_eq!(std::fs::read(store.volume_data("v").join("f")).unwrap(), b"x");
    std::fs::create_dir(&part).unwrap();
    assert!(store.fill_volume("v").is_err(), "files that are there stay");
}
