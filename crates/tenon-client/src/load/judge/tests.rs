//! A server that lies in each of the ways there are, and is found out in each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tenon_codec::Limits;
use tenon_codec::oip::Form;
use tenon_contract::{Digest, NamedTensor, Parameters, ServiceName, Tensor, Tolerance};

use super::*;
use crate::load::connection::Target;
use crate::load::questions::Origin;
use crate::load::run::{Plan, start};
use crate::load::{Pace, Report, Tally};
use crate::{Client, Options};

/// What the server does to every seventh request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    None,
    Refuses,
    HangsUp,
    Stalls,
    AnswersSomethingElse,
    AnswersAnotherQuestion,
    BearsAnotherId,
    NamesTheOther,
    NamesTheOthersDigest,
    NamesNobody,
    NamesTheOtherInItsBody,
    NamesAnotherGeneration,
    /// Old body and old name, though the swap is acknowledged.
    StaysOld,
    /// New body and new name before the swap is asked for.
    RunsAhead,
}

const QUESTIONS: usize = 64;

fn right(version: usize, question: usize) -> Vec<NamedTensor> {
    let value = (version * 1000 + question) as f32;
    vec![NamedTensor::new("y", Tensor::from_values(vec![1, 2], vec![value, 0.5]).unwrap())]
}

fn digest(version: usize) -> Digest {
    Digest::of(&[version as u8])
}

fn label(version: usize) -> String {
    format!("m/{}", version + 1)
}

fn known(version: usize) -> Known {
    Known {
        version: label(version).parse().unwrap(),
        digest: digest(version),
        origin: Origin::Golden,
        right: (0..QUESTIONS).map(|question| right(version, question)).collect(),
        tolerance: Tolerance::default(),
    }
}

/// A server that serves version `live` and lies at times.
struct Fake {
    lie: Lie,
    live: AtomicUsize,
    requests: AtomicU64,
}

impl Fake {
    /// Listens on a port of its own, on a thread that ends with the test.
    fn listen(self: &Arc<Self>) -> SocketAddr {
        let fake = Arc::clone(self);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let fake = Arc::clone(&fake);
                    tokio::spawn(async move {
                        let service = service_fn(|request| fake.answer(request));
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            })
        });
        address
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let body = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        let asked = oip::decode_request(body, None, &Limits::default()).unwrap();
        let id = asked.id.unwrap();
        let question: usize = id[1..].parse().unwrap();
        let lies = self.requests.fetch_add(1, Ordering::SeqCst) % 7 == 6;
        let live = self.live.load(Ordering::SeqCst);
        let lie = if lies { self.lie } else { Lie::None };
        let other = 1 - live;
        let honest = (right(live, question), label(live), digest(live), id.clone(), None);
        let (outputs, label, digest, id, named) = match lie {
            Lie::HangsUp => return Err(std::io::Error::other("hangs up")),
            Lie::Refuses => {
                let mut refused = Response::new(Full::new(Bytes::from_static(b"{\"error\":\"full\"}")));
                *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                return Ok(refused);
            }
            Lie::Stalls => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                honest
            }
            Lie::AnswersSomethingElse => (right(2, question), honest.1, honest.2, id, None),
            Lie::AnswersAnotherQuestion => {
                (right(live, (question + 1) % QUESTIONS), honest.1, honest.2, id, None)
            }
            Lie::BearsAnotherId => (honest.0, honest.1, honest.2, "q999".to_owned(), None),
            Lie::NamesTheOther => (honest.0, label(other), digest(other), id, None),
            Lie::NamesTheOthersDigest => (honest.0, honest.1, digest(other), id, None),
            Lie::NamesNobody => (honest.0, String::new(), honest.2, id, None),
            Lie::NamesTheOtherInItsBody => {
                (honest.0, honest.1, honest.2, id, Some(("tenon_version", Parameter::String(label(other)))))
            }
            Lie::NamesAnotherGeneration => {
                (honest.0, honest.1, honest.2, id, Some(("tenon_generation", Parameter::Int(8))))
            }
            Lie::StaysOld | Lie::RunsAhead => (right(other, question), label(other), digest(other), id, None),
            Lie::None => honest,
        };
        let parameters: Parameters =
            named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let answer = oip::Answer {
            model_name: "s",
            model_version: None,
            id: Some(&id),
            parameters: &parameters,
            outputs: &outputs,
        };
        let body = oip::encode_response(&answer, |_| Form::Json).unwrap().into_body();
        let answer =
            Response::builder().header("tenon-version", label).header("tenon-digest", digest.to_string());
        let answer = answer.header("tenon-generation", 7);
        Ok(answer.body(Full::new(body)).unwrap())
    }
}

/// A load of 700 requests against a server that lies; a swap in the middle of it, unless the lie is one
/// that needs none.
fn load(lie: Lie, pace: Pace) -> Report {
    let fake = Arc::new(Fake { lie, live: AtomicUsize::new(0), requests: AtomicU64::new(0) });
    let address = fake.listen();
    let client = Client::new(&Options { server: format!("http://{address}"), ..Options::default() }).unwrap();
    let target = Target::of(&client).unwrap();
    let input = || vec![NamedTensor::new("x", Tensor::from_values(vec![1], vec![1f32]).unwrap())];
    let questions = Questions { inputs: (0..QUESTIONS).map(|_| input()).collect(), form: Form::Json };
    let service: ServiceName = "s".parse().unwrap();
    let mut plan =
        Plan::new(target.clone(), questions.shots(&target, &service).unwrap(), Duration::from_secs(60));
    (plan.connections, plan.pace, plan.count) = (4, pace, Some(700));
    plan.timeout = Duration::from_millis(300);
    let ledger = Arc::new(Ledger::new(0));
    let judge = Arc::new(Judge::new(Arc::clone(&ledger), vec![known(0), known(1)]));
    assert_eq!(judge.telling(), QUESTIONS);
    let load = start(plan, judge).unwrap();
    if lie != Lie::RunsAhead {
        while fake.requests.load(Ordering::SeqCst) < 200 {
            std::thread::yield_now();
        }
        let swap = ledger.issue(1);
        fake.live.store(1, Ordering::SeqCst);
        ledger.acknowledge(swap);
    }
    load.finish().unwrap()
}

/// The tally of a load, with what was found besides right answers.
fn found(lie: Lie) -> (Tally, Vec<Offence>) {
    let report = load(lie, Pace::Closed);
    (report.tally, report.charges.into_keys().collect())
}

#[test]
fn an_honest_server_is_found_honest() {
    for pace in [Pace::Closed, Pace::Open { rate: 3000.0 }] {
        let report = load(Lie::None, pace);
        assert_eq!(report.tally, Tally { right: 700, ..Tally::default() }, "{:?}", report.charges);
        assert_eq!(report.latency.count, 700);
    }
}

#[test]
fn every_lie_is_found_and_called_by_its_name() {
    use Lie::*;
    let check = |lies: &[Lie], offence: Offence| {
        for lie in lies {
            let (tally, offences) = found(*lie);
            assert_eq!(offences, [offence], "{lie:?}");
            // Those that fall into the swap may be either version's; a stall holds up few requests.
            assert!(tally.failed() >= if *lie == StaysOld { 60 } else { 95 }, "{lie:?}: {tally:?}");
            assert_eq!(tally.sent(), 700, "{lie:?}");
        }
    };
    check(&[Refuses, HangsUp, Stalls], Offence::Lost);
    check(&[AnswersSomethingElse, AnswersAnotherQuestion, BearsAnotherId], Offence::Wrong);
    check(
        &[NamesTheOther, NamesTheOthersDigest, NamesNobody, NamesTheOtherInItsBody, NamesAnotherGeneration],
        Offence::Mixed,
    );
    check(&[StaysOld, RunsAhead], Offence::Stale);
}

#[test]
fn nobody_there_is_lost() {
    let client =
        Client::new(&Options { server: "http://127.0.0.1:9".to_owned(), ..Options::default() }).unwrap();
    let target = Target::of(&client).unwrap();
    let mut plan =
        Plan::new(target.clone(), vec![target.get("/readyz").unwrap()], Duration::from_millis(200));
    plan.connections = 2;
    let report = start(plan, Arc::new(crate::load::AnyAnswer)).unwrap().finish().unwrap();
    assert!(report.tally.lost > 0 && report.tally.right == 0, "{:?}", report.tally);
}
