//! Bad disks: full, read-only, with torn files. What is served goes on, what changes is refused, and nothing is lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tenon_contract::receipt::Chain;
use tenon_scenarios::deed::{Deed, SERVICE};
use tenon_scenarios::server::{Home, Server, Start};
use tenon_scenarios::site::{Ending, Site};
use tenon_scenarios::skip;
use tenon_scenarios::witness::look;

/// Size of the small disk.
const SMALL_DISK: &str = "size=24m,mode=0700";
/// A page of it: the least that is free or not.
const PAGE: u64 = 4096;

/// A file system in memory, mounted on the data folder of a home.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts it, where that is allowed.
    fn mount(home: &Home) -> Option<Self> {
        let at = home.data();
        std::fs::create_dir(&at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { at })
    }

    /// Fills it but for some pages.
    fn fill(&self, free_pages: u64) -> Result<()> {
        let path = self.filler();
        let mut file = std::fs::File::create(&path)?;
        let end = std::io::copy(&mut std::io::repeat(0), &mut file);
        ensure!(end.is_err(), "the small disk has no end");
        let length = file.metadata()?.len();
        Ok(file.set_len(length.saturating_sub(free_pages * PAGE))?)
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    fn remount(&self, how: &str) -> Result<()> {
        let output = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.at).output()?;
        ensure!(output.status.success(), "remount {how}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may be dropped after it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A site on a small disk; nothing where none can be mounted.
fn small_site() -> Option<(SmallDisk, Site)> {
    let home = Home::new().unwrap();
    let disk = SmallDisk::mount(&home)?;
    Some((disk, Site::at(home).unwrap()))
}

#[test]
fn a_full_disk_refuses_changes_and_serves_on() {
    let Some((disk, mut site)) = small_site() else { return skip("cannot mount a small disk") };
    let mut server = site.start(&Start::default()).unwrap();
    site.judge(&server).unwrap();
    let (mut refused, mut done) = (0, 0);
    for free_pages in 0..12 {
        match change_on_full_disk(&disk, &mut site, &server, free_pages) {
            Ok(true) => done += 1,
            Ok(false) => refused += 1,
            Err(error) => panic!("with {free_pages} pages free: {error:#}"),
        }
        server.kill().unwrap();
        server = site.start(&Start::default()).unwrap();
        site.judge(&server).unwrap_or_else(|error| panic!("after {free_pages} pages were free: {error:#}"));
    }
    assert!(refused > 1, "the disk was never full: {refused} refused, {done} done");
}

/// Swaps, undoes and pushes on a disk with so many pages left. Gives whether the swap was done.
fn change_on_full_disk(disk: &SmallDisk, site: &mut Site, server: &Server, free_pages: u64) -> Result<bool> {
    disk.fill(free_pages)?;
    let swap = Deed::Swap(site.account.other().context("no other version")?);
    let swapped = matches!(settled(site, server, swap)?, Ending::Acknowledged);
    if site.account.previous().is_some() {
        settled(site, server, Deed::Undo)?;
    }
    let push = Deed::Push(site.upload(1)?);
    // It may also be that the job could be told of and failed: then `act` says so.
    let pushed = matches!(site.act(server, push.clone()), Ok(Ending::Acknowledged));
    ensure!(look(server.port(), SERVICE)?.is_some(), "nothing is served any more");
    disk.free()?;
    site.judge(server).context("with room again")?;
    ensure!(free_pages > 0 || !swapped, "a swap is acknowledged that has no room for its receipt");
    if !pushed {
        site.must(server, push).context("a push with room again")?;
    }
    let swap = Deed::Swap(site.account.other().context("no other version")?);
    site.must(server, swap).context("a swap with room again")?;
    site.judge(server)?;
    Ok(swapped)
}

/// Does a deed that may be refused for want of room, and looks at what is served then.
fn settled(site: &mut Site, server: &Server, deed: Deed) -> Result<Ending> {
    let text = format!("{deed:?}");
    let ending = site.act(server, deed).with_context(|| text.clone())?;
    if let Ending::Refused(why) = &ending {
        ensure!(why.len() > 10, "refused without a word");
        site.account.refused();
    }
    site.judge(server).with_context(|| format!("after {text}: {ending:?}"))?;
    Ok(ending)
}

#[test]
fn a_server_starts_on_a_full_disk_and_serves() {
    let Some((disk, mut site)) = small_site() else { return skip("cannot mount a small disk") };
    disk.fill(0).unwrap();
    site.start(&Start::default()).unwrap().kill().unwrap();
    let mut server = site.start(&Start::default()).unwrap();
    assert_eq!(look(server.port(), SERVICE).unwrap().expect("it is served").version, "m/1");
    disk.free().unwrap();
    // The catalog could not be opened; the server tries again.
    server.wait_for("/api/v1/models").unwrap();
    site.judge(&server).unwrap();
    let swap = Deed::Swap(site.account.other().unwrap());
    site.must(&server, swap).unwrap();
    site.judge(&server).unwrap();
}

#[test]
fn a_disk_that_becomes_read_only_refuses_changes_and_serves_on() {
    let mut site = Site::new().unwrap();
    let server = site.start(&Start::default()).unwrap();
    site.judge(&server).unwrap();
    let Some(frozen) = Frozen::freeze(site.home.data()) else { return skip("cannot make files immutable") };
    for deed in [Deed::Swap(site.account.other().unwrap()), Deed::Remove] {
        let ending = settled(&mut site, &server, deed.clone()).unwrap();
        assert!(matches!(ending, Ending::Refused(_)), "{deed:?}: {ending:?}");
    }
    let push = Deed::Push(site.upload(1).unwrap());
    let pushed = site.act(&server, push.clone());
    assert!(!matches!(pushed, Ok(Ending::Acknowledged)), "{pushed:?}");
    assert_eq!(server.get("/readyz").unwrap().status, 200, "it is as ready as before");
    drop(frozen);
    // What could not be taken back needs a restart, and says so; then all is well.
    server.kill().unwrap();
    let server = site.start(&Start::default()).unwrap();
    site.judge(&server).unwrap();
    site.must(&server, push).unwrap();
    let swap = Deed::Swap(site.account.other().unwrap());
    site.must(&server, swap).unwrap();
    site.judge(&server).unwrap();
}

/// Files that nobody can change, not even who has them open.
struct Frozen {
    folder: PathBuf,
}

impl Frozen {
    fn freeze(folder: PathBuf) -> Option<Self> {
        let status = Command::new("chattr").args(["-R", "-f", "+i"]).arg(&folder).status();
        let frozen = Self { folder };
        (status.is_ok_and(|status| status.success())).then_some(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&self.folder).status();
    }
}

#[test]
fn a_read_only_data_folder_is_told_at_the_start() {
    let Some((disk, mut site)) = small_site() else { return skip("cannot mount a small disk") };
    disk.remount("ro").unwrap();
    let server = Server::spawn(&site.home, &Start::default()).unwrap();
    let status = server.ended().unwrap();
    let (log, data) = (site.home.log(), site.home.data().display().to_string());
    assert_eq!(status.code(), Some(1), "{log}");
    let told = log.lines().any(|line| line.contains(&data) && line.contains("Read-only file system"));
    assert!(told, "the log does not say which folder is read-only: {log}");
    disk.remount("rw").unwrap();
    let server = site.start(&Start::default()).unwrap();
    site.judge(&server).unwrap();
}

/// Every byte of the last entries is cut in `tenon-serving`; here the borders, and some places between them.
#[test]
fn a_torn_chain_serves_what_is_left_of_it() {
    let mut site = Site::new().unwrap();
    let server = site.start(&Start::default()).unwrap();
    site.judge(&server).unwrap();
    site.must(&server, Deed::Swap(2)).unwrap();
    let path = site.home.data().join(format!("node/receipts/{SERVICE}.chain"));
    let whole = until_it_ends_with(&path, "drained");
    server.kill().unwrap();
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    let [before, published, end] = ends[ends.len() - 3..] else { panic!("a chain of three entries") };
    let stride = (before..=end).step_by((end - before) / 12);
    let borders = [before, before + 1, published - 1, published, published + 1, end - 1, end];
    for cut in stride.chain(borders) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let server = site.start(&Start::default()).unwrap();
        let sight = look(server.port(), SERVICE).unwrap().expect("the service answers");
        let expected = if cut >= published { "m/2" } else { "m/1" };
        assert_eq!(sight.version, expected, "cut at byte {cut} of {before}..={end}");
        let key = std::fs::read_to_string(site.home.data().join("node/receipts.pub")).unwrap();
        let key = tenon_contract::receipt::read_key(&key).unwrap();
        Chain::read(&std::fs::read_to_string(&path).unwrap(), Some(&key)).unwrap();
        server.kill().unwrap();
    }
}

fn until_it_ends_with(path: &Path, event: &str) -> String {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(path).unwrap();
        if text.lines().last().is_some_and(|line| line.contains(&format!("\"what\":\"{event}\""))) {
            return text;
        }
        assert!(Instant::now() < until, "the chain does not end with {event}:\n{text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_damaged_artifact_is_told_and_never_loaded() {
    let mut site = Site::new().unwrap();
    let server = site.start(&Start::default()).unwrap();
    let digest = look(server.port(), SERVICE).unwrap().unwrap().digest;
    server.kill().unwrap();
    let hex = digest.trim_start_matches("sha256:");
    let blob = site.home.data().join("store/blobs/sha256").join(hex);
    let whole = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, &whole[..whole.len() - 7]).unwrap();
    let mut server = Server::spawn(&site.home, &Start::default()).unwrap();
    server.wait_for("/livez").unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !site.home.log().contains("could not be brought back") {
        assert!(Instant::now() < until, "the log does not say what is wrong:\n{}", site.home.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.get("/readyz").unwrap().status, 503, "it is not ready without a wanted service");
    assert!(look(server.port(), SERVICE).is_err(), "damaged bytes answer");
    // Another version brings the service back.
    site.must(&server, Deed::Swap(2)).unwrap();
    server.wait_for("/readyz").unwrap();
    assert_eq!(look(server.port(), SERVICE).unwrap().unwrap().version, "m/2");
}
