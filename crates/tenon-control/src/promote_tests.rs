//! Stories of promotion, with a node in memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tenon_catalog::{Audits as _, Heads as _, Services as _, Versions as _};
use tenon_contract::admin::{SwapRequest, Swapped};
use tenon_contract::{Fault, FaultKind, ProofKind, Revision, ServiceName, Settings};
use tenon_store::testing::Faults;

use crate::fakes::House;
use crate::{Caller, NodePort as _, Permit, Promote, Promotion, authorize};

const GOLDEN: ProofKind = ProofKind::Golden;

struct Desk {
    house: House,
    promotion: Promotion,
}

impl Desk {
    /// `churn/1` and `churn/2` have the same contract, `wide/1` another one; `rough/1` has no examples.
    async fn new(defaults: Settings) -> Self {
        let house = House::new().await;
        house.version("churn/1", "toy add=1 end", GOLDEN).await;
        house.version("churn/2", "toy add=2 end", GOLDEN).await;
        house.version("wide/1", "toy width=3 end", GOLDEN).await;
        house.version("rough/1", "toy add=3 end", ProofKind::Synthetic).await;
        let (catalog, node, clock) = (house.catalog.clone(), house.node.clone(), house.clock.clone());
        Self { house, promotion: Promotion::new(catalog, node, clock, defaults) }
    }

    async fn deploy(&self, version: &str) -> Result<Swapped, Fault> {
        self.promotion.deploy(&permit(), &service(), request(version)).await
    }

    async fn swap(&self, version: &str) -> Result<Swapped, Fault> {
        self.promotion.swap(&permit(), &service(), request(version)).await
    }

    fn live(&self) -> Option<Revision> {
        self.house.node.live(&service())
    }

    fn answers(&self) -> String {
        self.live().map_or_else(|| "nothing".to_owned(), |revision| revision.version().id.to_string())
    }

    async fn wanted(&self) -> Option<Revision> {
        self.house.sqlite.service(&service()).await.unwrap()
    }
}

fn service() -> ServiceName {
    "scores".parse().unwrap()
}

fn permit() -> Permit<Promote> {
    authorize(&Caller::admin("ada"), Promote).unwrap()
}

fn request(version: &str) -> SwapRequest {
    let version = version.parse().unwrap();
    SwapRequest { version, settings: None, breaking: None, dry_run: false, reason: None }
}

#[tokio::test]
async fn the_catalog_follows_the_node() {
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("churn/1").await.unwrap();
    let second = desk.swap("churn/2").await.unwrap();
    assert_eq!(desk.wanted().await, desk.live());
    assert_eq!((second.from.unwrap().number, second.to.unwrap().number), (1, 2));
    desk.promotion.undo(&permit(), &service(), None).await.unwrap();
    assert_eq!((desk.answers().as_str(), desk.wanted().await), ("churn/1", desk.live()));
    assert_eq!(desk.house.sqlite.heads(&service()).await.unwrap().len(), 3);
    desk.promotion.remove(&permit(), &service(), None).await.unwrap();
    assert_eq!((desk.live(), desk.wanted().await), (None, None));
    let audits = desk.house.sqlite.audits(10).await.unwrap();
    let told: Vec<_> =
        audits.iter().rev().map(|entry| format!("{} {}", entry.action, entry.outcome)).collect();
    assert_eq!(
        told,
        [
            "deploy done: revision 1, churn/1",
            "swap done: revision 2, churn/2",
            "undo done: revision 1, churn/1",
            "remove done: removed"
        ]
    );
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let desk = Desk::new(Settings::default()).await;
    let check = |result: Result<Swapped, Fault>, kind: FaultKind, expected: &str| {
        let fault = result.unwrap_err();
        assert!(fault.kind == kind && fault.text.contains(expected), "{:?} {fault}", fault.kind);
    };
    check(desk.swap("churn/1").await, FaultKind::NotFound, "no such service; deploy it first");
    check(desk.deploy("churn/9").await, FaultKind::NotFound, "the latest is `churn/2`");
    check(desk.deploy("none/1").await, FaultKind::NotFound, "no model `none`");
    desk.deploy("churn/1").await.unwrap();
    check(desk.deploy("churn/2").await, FaultKind::Conflict, "swap it to churn/2 instead");
    let breaking = SwapRequest { breaking: Some(" ".to_owned()), ..request("wide/1") };
    let unreasoned = desk.promotion.swap(&permit(), &service(), breaking).await;
    check(unreasoned, FaultKind::Invalid, "needs a reason");
    let missing = desk.promotion.remove(&permit(), &"other".parse().unwrap(), None).await;
    check(missing, FaultKind::NotFound, "no service `other`");
    assert_eq!(desk.answers(), "churn/1");
}

#[tokio::test]
async fn contract_and_settings_outlive_versions() {
    let desk = Desk::new(Settings { drain_ms: 7, ..Settings::default() }).await;
    desk.deploy("churn/1").await.unwrap();
    let first = desk.live().unwrap();
    assert_eq!(first.settings.drain_ms, 7, "a new service gets the defaults");
    let settings = Settings { queue: 3, ..Settings::default() };
    let given = SwapRequest { settings: Some(settings.clone()), ..request("churn/2") };
    desk.promotion.swap(&permit(), &service(), given).await.unwrap();
    desk.swap("churn/1").await.unwrap();
    let third = desk.live().unwrap();
    assert_eq!((third.settings, third.contract), (settings, first.contract.clone()), "both are kept");
    // The node judges whether a breaking change is allowed; what is promised changes only by name.
    desk.swap("wide/1").await.unwrap();
    assert_eq!(desk.live().unwrap().contract, first.contract);
    let breaking = SwapRequest { breaking: Some("a new purpose".to_owned()), ..request("wide/1") };
    desk.promotion.swap(&permit(), &service(), breaking).await.unwrap();
    let live = desk.live().unwrap();
    assert_eq!(live.contract, live.version().contract);
}

#[tokio::test]
async fn golden_examples_can_be_demanded() {
    let demanding = Settings { require_golden: true, ..Settings::default() };
    let desk = Desk::new(demanding.clone()).await;
    let fault = desk.deploy("rough/1").await.unwrap_err();
    assert!(fault.kind == FaultKind::Conflict && fault.text.contains("synthetic"), "{fault}");
    let tried = desk.promotion.dry_run(&permit(), &service(), &request("rough/1")).await.unwrap();
    assert!(tried.refusals[0].contains("synthetic"));
    desk.deploy("churn/1").await.unwrap();
    let loose = SwapRequest { settings: Some(Settings::default()), ..request("rough/1") };
    assert!(
        desk.promotion.swap(&permit(), &service(), loose).await.is_err(),
        "a service cannot undercut the policy"
    );
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("rough/1").await.unwrap();
    let strict = SwapRequest { settings: Some(demanding), ..request("rough/1") };
    assert!(desk.promotion.swap(&permit(), &service(), strict).await.is_err(), "but it can demand more");
}

#[tokio::test]
async fn one_change_at_a_time_and_to_its_end() {
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("churn/1").await.unwrap();
    *desk.house.node.delay.lock().unwrap() = Duration::from_millis(100);
    let promotion = desk.promotion.clone();
    let first = tokio::spawn(async move { promotion.swap(&permit(), &service(), request("churn/2")).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let fault = desk.swap("churn/2").await.unwrap_err();
    assert!(
        fault.kind == FaultKind::Conflict && fault.text.contains("a swap to churn/2 by ada is under way"),
        "{fault}"
    );
    // The caller goes away in the middle.
    first.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((desk.answers().as_str(), desk.wanted().await), ("churn/2", desk.live()));
    desk.swap("churn/1").await.unwrap();
}

#[tokio::test]
async fn an_undo_needs_no_catalog() {
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("churn/1").await.unwrap();
    desk.swap("churn/2").await.unwrap();
    desk.house.fail(&Faults::from(1));
    desk.promotion.undo(&permit(), &service(), None).await.unwrap();
    assert_eq!(desk.answers(), "churn/1");
    desk.house.fail(&Faults::none());
    assert_ne!(desk.wanted().await, desk.live());
    desk.promotion.reconcile().await.unwrap();
    assert_eq!(desk.wanted().await, desk.live());
}

#[tokio::test]
async fn reconciling_follows_the_node_that_knows_more() {
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("churn/1").await.unwrap();
    desk.house.fail(&Faults::from(2));
    desk.promotion.remove(&permit(), &service(), None).await.unwrap();
    desk.house.fail(&Faults::none());
    let mut unknown = desk.wanted().await.unwrap();
    unknown.service = "elsewhere".parse().unwrap();
    unknown.number = 40;
    desk.house.sqlite.record_service(&unknown).await.unwrap();
    desk.promotion.reconcile().await.unwrap();
    assert_eq!(desk.wanted().await, None, "the node served it no more");
    assert_eq!(desk.house.sqlite.services().await.unwrap(), [unknown], "the node never knew it");
}

#[tokio::test]
async fn a_lost_catalog_is_mended_from_the_node() {
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("churn/2").await.unwrap();
    let lost = House::new().await;
    let promotion = Promotion::new(
        lost.catalog.clone(),
        desk.house.node.clone(),
        lost.clock.clone(),
        Settings::default(),
    );
    promotion.reconcile().await.unwrap();
    let served = desk.live().unwrap();
    assert_eq!(lost.sqlite.services().await.unwrap(), std::slice::from_ref(&served));
    let known = lost.sqlite.versions(&served.version().id.model).await.unwrap();
    assert_eq!(known, [served.version().clone()], "under its own number");
}

#[tokio::test]
async fn a_service_that_is_down_keeps_its_promise() {
    let desk = Desk::new(Settings::default()).await;
    desk.deploy("churn/1").await.unwrap();
    let before = desk.live().unwrap();
    desk.house.node.is_down.store(true, Ordering::SeqCst);
    desk.promotion.reconcile().await.unwrap();
    assert_eq!(desk.wanted().await.as_ref(), Some(&before), "the catalog keeps what is wanted");
    assert!(desk.deploy("churn/2").await.is_err(), "it exists");
    desk.swap("wide/1").await.unwrap();
    assert_eq!(desk.live().unwrap().contract, before.contract);
}

#[tokio::test]
async fn a_fault_at_any_step_changes_all_or_nothing() {
    for nth in 0.. {
        let desk = Desk::new(Settings::default()).await;
        desk.deploy("churn/1").await.unwrap();
        let before = desk.live();
        let faults = Faults::at(nth);
        desk.house.fail(&faults);
        let swapped = desk.swap("churn/2").await;
        let reached = faults.taken() > nth;
        desk.house.fail(&Faults::none());
        match &swapped {
            Ok(_) => assert_eq!(desk.answers(), "churn/2", "fault at step {nth}"),
            Err(_) => assert_eq!(desk.live(), before, "fault at step {nth}"),
        }
        desk.promotion.reconcile().await.unwrap();
        assert_eq!(desk.wanted().await, desk.live(), "fault at step {nth}");
        desk.swap("churn/2").await.unwrap_or_else(|fault| panic!("blocked after step {nth}: {fault}"));
        if !reached {
            assert!(swapped.is_ok() && nth >= 5, "{nth} steps");
            break;
        }
    }
}
