//! The promises of the data plane, on toy models: nothing lost, mixed or stale; a failed step changes
//! nothing; what was acknowledged is served again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenon_contract::admin::{SwapOrder, Swapped};
use tenon_contract::receipt::Chain;
use tenon_contract::{
    Fault, FaultKind, Memory, NamedTensor, Request, Response, Revision, ServiceName, Tensor,
};
use tenon_runtime::Runtimes;
use tenon_runtime::toy::Toy;
use tenon_store::{Options, Store};

use crate::faults::{Hook, Moment};
use crate::testing::revision;
use crate::{Node, NodeOptions};

/// A node over toy models, with its folder.
struct Bench {
    node: Node,
    toy: Arc<Toy>,
    folder: Arc<tempfile::TempDir>,
}

fn service() -> ServiceName {
    "s".parse().unwrap()
}

fn bench() -> Bench {
    bench_with(|_| ())
}

fn bench_with(set: impl FnOnce(&mut NodeOptions)) -> Bench {
    open(Arc::new(tempfile::tempdir().unwrap()), set)
}

fn open(folder: Arc<tempfile::TempDir>, set: impl FnOnce(&mut NodeOptions)) -> Bench {
    let toy = Arc::new(Toy::new());
    let mut options = NodeOptions { cores: 2, ..NodeOptions::new("n", folder.path().join("node")) };
    set(&mut options);
    let store = Store::open(Options::files(folder.path().join("store"))).unwrap();
    let runtimes = Runtimes::new(vec![toy.clone()]);
    let node = Node::open(options, runtimes, store, tokio::runtime::Handle::current()).unwrap();
    Bench { node, toy, folder }
}

impl Bench {
    async fn put(&self, text: &str) {
        self.node.inner().store.put(text.to_owned().into()).await.unwrap();
    }

    async fn swap(&self, revision: Revision, breaking: bool) -> Result<Swapped, Fault> {
        let service = revision.service.clone();
        let order = SwapOrder { service, to: Some(revision), actor: "test".into(), reason: None, breaking };
        self.node.swap(order).await
    }

    /// Serves `y = x + add` as revision `number`.
    async fn serve(&self, number: u64, words: &str) -> Result<Swapped, Fault> {
        let text = format!("toy {words} end");
        self.put(&text).await;
        self.swap(revision("s", number, &text), false).await
    }

    async fn ask(&self, x: f32) -> Result<f32, Fault> {
        self.node.infer(request(x)).await.map(|response| y_of(&response))
    }

    /// What the service adds, as its callers see it; `None` where it is not there.
    async fn adds(&self) -> Option<f32> {
        self.ask(0.0).await.ok()
    }

    async fn undo(&self) -> Result<Swapped, Fault> {
        self.node.undo(service(), "test".into(), None).await
    }

    fn chain(&self) -> Chain {
        let text = self.node.journal().text(&service()).unwrap();
        Chain::read(&text, Some(&self.node.journal().public_key())).unwrap()
    }

    fn events(&self) -> Vec<&'static str> {
        self.chain().entries.iter().map(|(entry, _)| entry.event.name()).collect()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{what}: {:?}", self.events());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The node as it is after its process died and came back.
    async fn restarted(self) -> Self {
        let folder = self.folder.clone();
        drop(self);
        let bench = open(folder, |_| ());
        let node = bench.node.clone();
        tokio::task::spawn_blocking(move || node.restore()).await.unwrap();
        bench
    }
}

fn request(x: f32) -> Request {
    Request {
        service: service(),
        version: None,
        operation: "infer".into(),
        id: "r".parse().unwrap(),
        trace: None,
        parameters: Default::default(),
        inputs: vec![NamedTensor::new("x", Tensor::from_values(vec![1, 1], vec![x]).unwrap())],
        outputs: vec![],
        timeout: None,
    }
}

fn y_of(response: &Response) -> f32 {
    response.outputs[0].tensor.values::<f32>().unwrap()[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn swap_undo_and_remove_leave_their_receipts() {
    let bench = bench();
    assert_eq!(bench.ask(1.0).await.unwrap_err().kind, FaultKind::NotFound);
    let first = bench.serve(1, "add=1").await.unwrap();
    assert_eq!((first.from.is_none(), first.generation, bench.adds().await), (true, 1, Some(1.0)));
    let second = bench.serve(2, "add=2").await.unwrap();
    assert_eq!((second.generation, bench.adds().await), (2, Some(2.0)));
    bench.until("drained", |bench| bench.events().ends_with(&["drained"])).await;
    let undone = bench.undo().await.unwrap();
    assert_eq!((undone.to.unwrap().number, bench.adds().await), (1, Some(1.0)));
    bench.until("drained again", |bench| bench.events().ends_with(&["undone", "drained"])).await;
    assert_eq!(bench.undo().await.unwrap().to.unwrap().number, 2, "an undo can be undone");
    bench.until("drained thrice", |bench| bench.events().ends_with(&["undone", "drained"])).await;
    let removal =
        SwapOrder { service: service(), to: None, actor: "test".into(), reason: None, breaking: false };
    bench.node.swap(removal).await.unwrap();
    assert_eq!(bench.adds().await, None);
    bench.until("all retired", |bench| bench.toy.alive() == 0).await;
    bench
        .until("retirements", |bench| bench.events().iter().filter(|name| **name == "retired").count() == 2)
        .await;
    assert_eq!(bench.node.memory().0, Memory::default(), "memory is given back to the byte");
    let begun = ["intent", "published", "intent", "published", "drained", "undone", "drained"];
    assert_eq!(bench.events()[..7], begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_previous_revision_stays_warm() {
    let bench = bench();
    for number in 1..=4 {
        bench.serve(number, &format!("add={number}")).await.unwrap();
    }
    // Two models with two sessions each.
    bench.until("two engines", |bench| bench.toy.alive() == 6).await;
    assert_eq!(bench.node.memory().0, Memory::cpu(2 * 1100));
    let view = bench.node.service(&service()).unwrap();
    assert_eq!((view.revision, view.undo.unwrap().number), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_window_closes() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    let text = "toy add=2 end";
    bench.put(text).await;
    let mut second = revision("s", 2, text);
    second.settings.undo_window_s = 0;
    bench.swap(second, false).await.unwrap();
    bench.until("retired", |bench| bench.toy.alive() == 3).await;
    bench.until("journalled", |bench| bench.events().contains(&"retired")).await;
    assert_eq!(bench.undo().await.unwrap().to.unwrap().number, 1, "an undo then loads");
    assert_eq!(bench.adds().await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_serves_what_was_acknowledged_last() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    bench.serve(2, "add=2").await.unwrap();
    let bench = bench.restarted().await;
    assert_eq!((bench.adds().await, bench.node.is_ready()), (Some(2.0), true));
    assert!(bench.node.pin().number() > 2, "generations go on");
    assert_eq!(bench.events().last(), Some(&"retired"), "the warm revision did not outlive its process");
    assert_eq!(bench.undo().await.unwrap().to.unwrap().number, 1, "an undo after a restart loads");
    assert_eq!(bench.node.highest_revision(), 2, "numbers are never given twice");
    let bench = bench.restarted().await;
    assert_eq!(bench.adds().await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_brought_back_is_told_and_wanted() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    let digest = tenon_contract::Digest::of(b"toy add=1 end");
    bench.node.inner().store.delete(&digest).await.unwrap();
    let bench = bench.restarted().await;
    assert!(!bench.node.is_ready());
    assert!(bench.node.service(&service()).unwrap_err().text.contains(&digest.hex()));
    bench.serve(2, "add=2").await.unwrap();
    assert!(bench.node.is_ready());
}

/// Once armed, fails the nth moment before the acknowledgement.
fn fails_at(nth: usize) -> (Hook, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let (gate, count) = (armed.clone(), AtomicUsize::new(0));
    let hook: Hook = Arc::new(move |moment: Moment| {
        let afterwards = matches!(moment, Moment::Drained | Moment::Retire | Moment::Retired);
        if gate.load(Ordering::SeqCst) && !afterwards && count.fetch_add(1, Ordering::SeqCst) == nth {
            return Err(Fault::internal(format!("fault at {}", moment.name())));
        }
        Ok(())
    });
    (hook, armed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_step_of_a_swap_leaves_what_is_live() {
    for nth in 0.. {
        let folder = {
            let bench = bench();
            bench.serve(1, "add=1").await.unwrap();
            bench.folder.clone()
        };
        let (hook, armed) = fails_at(nth);
        let bench = open(folder, |options| options.hook = hook);
        let node = bench.node.clone();
        tokio::task::spawn_blocking(move || node.restore()).await.unwrap();
        armed.store(true, Ordering::SeqCst);
        let swapped = bench.serve(2, "add=2").await;
        armed.store(false, Ordering::SeqCst);
        // The acknowledgement alone may fail after the swap stands; then the caller is not told a lie either.
        let told = swapped.as_ref().err().is_some_and(|fault| fault.text.contains("fault at acknowledge"));
        let expected = if swapped.is_ok() || told { 2.0 } else { 1.0 };
        assert_eq!(bench.adds().await, Some(expected), "fault at step {nth}: {swapped:?}");
        let bench = bench.restarted().await;
        assert_eq!(bench.adds().await, Some(expected), "after fault at step {nth} and a restart");
        assert_eq!(bench.serve(3, "add=3").await.map(|_| ()), Ok(()), "goes on after fault at step {nth}");
        if swapped.is_ok() {
            assert_eq!(nth, 9, "a swap has nine moments");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_step_of_an_undo_leaves_what_is_live() {
    for nth in 0.. {
        let (hook, armed) = fails_at(nth);
        let bench = bench_with(|options| options.hook = hook);
        bench.serve(1, "add=1").await.unwrap();
        bench.serve(2, "add=2").await.unwrap();
        bench.until("drained", |bench| bench.events().ends_with(&["drained"])).await;
        armed.store(true, Ordering::SeqCst);
        let undone = bench.undo().await;
        armed.store(false, Ordering::SeqCst);
        let told = undone.as_ref().err().is_some_and(|fault| fault.text.contains("fault at acknowledge"));
        let expected = if undone.is_ok() || told { 1.0 } else { 2.0 };
        assert_eq!(bench.adds().await, Some(expected), "fault at step {nth}: {undone:?}");
        let bench = bench.restarted().await;
        assert_eq!(bench.adds().await, Some(expected), "after fault at step {nth} and a restart");
        if undone.is_ok() {
            assert_eq!(nth, 3, "an undo has three moments");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn swaps_under_load_lose_mix_and_delay_nothing() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    let acknowledged = Arc::new(AtomicU64::new(1));
    let issued = Arc::new(AtomicU64::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..6)
        .map(|caller| {
            let (node, acknowledged, issued, stop) =
                (bench.node.clone(), acknowledged.clone(), issued.clone(), stop.clone());
            tokio::spawn(async move {
                let mut count = 0u64;
                while !stop.load(Ordering::SeqCst) {
                    let low = acknowledged.load(Ordering::SeqCst);
                    let x = (caller * 1000) as f32;
                    let response = node.infer(request(x)).await.expect("no request is lost");
                    let added = (y_of(&response) - x) as u64;
                    assert_eq!(added, response.identity.revision, "body and name are of one revision");
                    let high = issued.load(Ordering::SeqCst);
                    assert!((low..=high).contains(&added), "{added} is not of {low}..={high}");
                    count += 1;
                    if count.is_multiple_of(64) {
                        tokio::task::yield_now().await;
                    }
                }
                count
            })
        })
        .collect();
    for number in 2..=60 {
        issued.store(number, Ordering::SeqCst);
        bench.serve(number, &format!("add={number}")).await.unwrap();
        acknowledged.store(number, Ordering::SeqCst);
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 100);
    }
    bench.until("engines back", |bench| bench.toy.alive() == 6).await;
    assert_eq!(bench.node.memory().0, Memory::cpu(2 * 1100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_is_answered_by_its_revision_and_delays_only_the_drain() {
    let bench = bench();
    bench.serve(1, "add=1 run_ms=400").await.unwrap();
    let node = bench.node.clone();
    let long = tokio::spawn(async move { node.infer(request(0.0)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    bench.serve(2, "add=2").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(200), "the swap does not wait for it");
    assert_eq!(bench.adds().await, Some(2.0));
    assert!(!bench.events().contains(&"drained"));
    let response = long.await.unwrap().unwrap();
    assert_eq!((y_of(&response), response.identity.revision, response.generation), (1.0, 1, 1));
    bench.until("drained", |bench| bench.events().ends_with(&["drained"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_refused_early_and_deadlines_hold() {
    let bench = bench();
    let text = "toy add=1 run_ms=300 end";
    bench.put(text).await;
    let mut slow = revision("s", 1, text);
    (slow.settings.sessions, slow.settings.queue, slow.settings.in_flight) = (1, 2, 4);
    bench.swap(slow, false).await.unwrap();
    let ask = |timeout: Option<u64>| {
        let node = bench.node.clone();
        let timeout = timeout.map(Duration::from_millis);
        tokio::spawn(async move {
            node.infer(Request { timeout, ..request(0.0) }).await.map_err(|fault| fault.kind)
        })
    };
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(ask(None));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let full = ask(None).await.unwrap();
    assert_eq!(full.err(), Some(FaultKind::Overloaded), "one runs, two wait");
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    let begun = Instant::now();
    assert_eq!(ask(Some(50)).await.unwrap().err(), Some(FaultKind::Deadline));
    assert!(begun.elapsed() < Duration::from_millis(250));
    let abandoned = ask(None);
    tokio::time::sleep(Duration::from_millis(30)).await;
    abandoned.abort();
    let begun = Instant::now();
    assert!(ask(None).await.unwrap().is_ok());
    assert!(begun.elapsed() < Duration::from_millis(550), "the abandoned call was stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_stays_in_its_request() {
    let bench = bench();
    bench.serve(1, "add=1 panic=13").await.unwrap();
    for _ in 0..3 {
        assert_eq!(bench.ask(13.0).await.unwrap_err().kind, FaultKind::Model);
    }
    assert!(!bench.node.is_service_ready(&service()), "told as unhealthy when it repeats");
    assert_eq!(bench.ask(1.0).await, Ok(2.0));
    assert!(bench.node.is_service_ready(&service()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_callers_is_refused_unless_meant() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    let text = "toy add=2 width=2 end";
    bench.put(text).await;
    let mut wide = revision("s", 2, text);
    let signature = {
        let track = &mut wide.tracks[0].version;
        for spec in track.signature.inputs.iter_mut().chain(&mut track.signature.outputs) {
            spec.shape[1] = tenon_contract::Dim::Fixed(2);
        }
        track.contract = tenon_contract::Contract::of_signature(&track.signature);
        track.signature.clone()
    };
    assert_eq!(bench.swap(wide.clone(), false).await.unwrap_err().kind, FaultKind::Conflict);
    assert_eq!((bench.adds().await, bench.events().len()), (Some(1.0), 2), "nothing happened");
    wide.contract = tenon_contract::Contract::of_signature(&signature);
    bench.swap(wide, true).await.unwrap();
    assert_eq!(bench.ask(0.0).await.unwrap_err().kind, FaultKind::Invalid, "callers see the new contract");
    assert_eq!(bench.undo().await.unwrap().to.unwrap().number, 1);
    assert_eq!(bench.adds().await, Some(1.0), "an undo brings the contract back too");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_admitted_before_it_is_taken() {
    let limit = |bytes| move |options: &mut NodeOptions| options.memory = Memory::cpu(bytes);
    let bench = bench_with(limit(2000));
    bench.serve(1, "add=1").await.unwrap();
    assert_eq!(bench.serve(2, "add=2").await.unwrap_err().kind, FaultKind::Overloaded);
    assert_eq!((bench.adds().await, bench.toy.alive()), (Some(1.0), 3));
    let bench = bench_with(limit(2500));
    for number in 1..=3 {
        bench.serve(number, &format!("add={number}")).await.unwrap();
    }
    assert_eq!(bench.adds().await, Some(3.0), "the warm revision left when its memory was needed");
    let retired = bench.chain().entries.iter().any(|(entry, _)| {
        matches!(&entry.event, tenon_contract::receipt::Event::Retired(retired) if retired.cause == "memory needed")
    });
    assert!(retired);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_with_the_same_engine_share_it() {
    let bench = bench();
    let text = "toy add=1 end";
    bench.put(text).await;
    for (number, name) in [(1, "s"), (2, "t")] {
        bench.swap(revision(name, number, text), false).await.unwrap();
    }
    assert_eq!((bench.toy.alive(), bench.node.memory().0), (3, Memory::cpu(1100)));
    let removal = SwapOrder {
        service: "t".parse().unwrap(),
        to: None,
        actor: "test".into(),
        reason: None,
        breaking: false,
    };
    bench.node.swap(removal).await.unwrap();
    assert_eq!(bench.adds().await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_at_a_time_and_others_serve_on() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    let text = "toy add=2 load_ms=300 end";
    bench.put(text).await;
    let node = bench.node.clone();
    let order = SwapOrder {
        service: service(),
        to: Some(revision("s", 2, text)),
        actor: "test".into(),
        reason: None,
        breaking: false,
    };
    let slow = tokio::spawn(async move { node.swap(order).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.serve(3, "add=3").await.unwrap_err().kind, FaultKind::Conflict);
    assert!(bench.node.is_ready(), "a load in the background flips nothing");
    assert_eq!(bench.adds().await, Some(1.0));
    slow.await.unwrap().unwrap();
    assert_eq!(bench.adds().await, Some(2.0));
}

/// Power loss may leave any beginning of the last entries. What is left of the chain decides what is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_cut_at_any_byte_of_its_last_entries_serves_what_is_left() {
    let bench = bench();
    bench.serve(1, "add=1").await.unwrap();
    bench.serve(2, "add=2").await.unwrap();
    bench.until("drained", |bench| bench.events().ends_with(&["drained"])).await;
    let folder = bench.folder.clone();
    let path = folder.path().join("node/receipts/s.chain");
    drop(bench);
    let whole = std::fs::read_to_string(&path).unwrap();
    // intent, published, intent, published, drained: the last two are cut.
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    for cut in ends[2]..=ends[4] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let bench = open(folder.clone(), |_| ());
        let node = bench.node.clone();
        tokio::task::spawn_blocking(move || node.restore()).await.unwrap();
        let expected = if cut >= ends[3] { 2.0 } else { 1.0 };
        assert_eq!(bench.adds().await, Some(expected), "cut at byte {cut}");
        assert!(bench.events().starts_with(&["intent", "published", "intent"]), "cut at byte {cut}");
    }
    let bench = open(folder, |_| ());
    let node = bench.node.clone();
    tokio::task::spawn_blocking(move || node.restore()).await.unwrap();
    assert_eq!(bench.serve(3, "add=3").await.map(|_| ()), Ok(()), "and the chain goes on");
}
