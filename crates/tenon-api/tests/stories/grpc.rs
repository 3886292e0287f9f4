//! gRPC over the wire, asked by a client that is not ours.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tenon_api::{Access, Limits};
use tenon_codec::grpc::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tenon_codec::grpc::inference::infer_parameter::ParameterChoice;
use tenon_codec::grpc::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use tenon_codec::grpc::inference::*;
use tenon_codec::grpc::reflection::server_reflection_request::MessageRequest;
use tenon_codec::grpc::reflection::server_reflection_response::MessageResponse;
use tenon_codec::grpc::reflection::{ServerReflectionRequest, ServerReflectionResponse};
use tonic::codec::{CompressionEncoding, Streaming};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::house::{ADMIN, House, INFER, Setup, until};

const OIP: &str = "inference.GRPCInferenceService";

/// A client of one connection.
struct Caller {
    client: tonic::client::Grpc<Channel>,
    token: Option<&'static str>,
}

impl Caller {
    async fn of(house: &House) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", house.address)).unwrap();
        let client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        Self { client, token: None }
    }

    fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    fn packed(mut self, packing: CompressionEncoding) -> Self {
        self.client = self.client.send_compressed(packing);
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token {
            let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    async fn send<Q, A>(&mut self, path: &str, request: Request<Q>) -> Result<tonic::Response<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.client.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/{path}")).unwrap();
        self.client.unary(request, path, ProstCodec::<Q, A>::default()).await
    }

    /// Calls a method of the Open Inference Protocol.
    async fn oip<Q, A>(&mut self, method: &str, message: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let request = self.request(message);
        self.send(&format!("{OIP}/{method}"), request).await.map(tonic::Response::into_inner)
    }

    async fn infer(&mut self, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
        self.oip("ModelInfer", request).await
    }

    async fn stream<Q, A>(&mut self, path: &str, messages: Vec<Q>) -> Result<Streaming<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.client.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/{path}")).unwrap();
        let request = self.request(futures::stream::iter(messages));
        self.client
            .streaming(request, path, ProstCodec::<Q, A>::default())
            .await
            .map(|answer| answer.into_inner())
    }
}

/// A request for one FP32 value, raw.
fn question(x: f32) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "s".to_owned(),
        id: "q".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 1],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![Bytes::copy_from_slice(&x.to_le_bytes())],
        ..ModelInferRequest::default()
    }
}

fn flag(name: &str, is: bool) -> (String, InferParameter) {
    (name.to_owned(), InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(is)) })
}

fn value(answer: &ModelInferResponse) -> f32 {
    f32::from_le_bytes(answer.raw_output_contents[0][..].try_into().unwrap())
}

/// Checks code and words of a refusal.
fn refused<T: std::fmt::Debug>(found: Result<T, Status>, code: Code, words: &str) {
    let status = found.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(words), "`{}` does not say `{words}`", status.message());
}

fn text<'m>(metadata: &'m MetadataMap, name: &str) -> &'m str {
    metadata.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_with_identity_and_id() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    let request = caller.request(question(41.5));
    let answer: tonic::Response<ModelInferResponse> =
        caller.send(&format!("{OIP}/ModelInfer"), request).await.unwrap();
    let digest = house.node.service(&"s".parse().unwrap()).unwrap().digest.to_string();
    let metadata = answer.metadata();
    let expected = [
        ("tenon-service", "s"),
        ("tenon-revision", "1"),
        ("tenon-version", "s/1"),
        ("tenon-digest", digest.as_str()),
        ("tenon-generation", "1"),
        ("tenon-request-id", "q"),
    ];
    for (name, expected) in expected {
        assert_eq!(text(metadata, name), expected, "{name}");
    }
    let answer = answer.into_inner();
    assert_eq!(
        (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str(), value(&answer)),
        ("s", "1", "q", 42.5)
    );
    assert_eq!(answer.outputs[0].shape, [1, 1]);
    let generation = answer.parameters["tenon_generation"].parameter_choice.clone();
    assert_eq!(generation, Some(ParameterChoice::Int64Param(1)));
    // The id of the metadata goes before that of the message.
    let mut request = caller.request(question(0.0));
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let answer: tonic::Response<ModelInferResponse> =
        caller.send(&format!("{OIP}/ModelInfer"), request).await.unwrap();
    assert_eq!((text(answer.metadata(), "tenon-request-id"), answer.get_ref().id.as_str()), ("mine", "q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_may_be_typed_in_both_directions() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    let mut typed = question(0.0);
    typed.raw_input_contents.clear();
    let contents = InferTensorContents { fp32_contents: vec![2.0], ..InferTensorContents::default() };
    typed.inputs[0].contents = Some(contents);
    assert_eq!(value(&caller.infer(typed.clone()).await.unwrap()), 3.0);
    typed.parameters.extend([flag("binary_data_output", false)]);
    let answer = caller.infer(typed).await.unwrap();
    assert!(answer.raw_output_contents.is_empty());
    assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp32_contents, [3.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_statuses() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    let with = |change: fn(&mut ModelInferRequest)| {
        let mut request = question(0.0);
        change(&mut request);
        request
    };
    let unknown = with(|request| request.model_name = "none".to_owned());
    refused(caller.infer(unknown).await, Code::NotFound, "no service `none`");
    let version = with(|request| request.model_version = "7".to_owned());
    refused(caller.infer(version).await, Code::NotFound, "version 7 is not live");
    let no_number = with(|request| request.model_version = "latest".to_owned());
    refused(caller.infer(no_number).await, Code::NotFound, "versions are numbers");
    let shape = with(|request| request.inputs[0].shape = vec![2, 1]);
    refused(caller.infer(shape).await, Code::InvalidArgument, "needs 8 bytes, got 4");
    let name = with(|request| request.inputs[0].name = "é".to_owned());
    refused(caller.infer(name).await, Code::InvalidArgument, "unknown input `é`");
    let output = with(|request| {
        request.outputs = vec![InferRequestedOutputTensor {
            name: "z".to_owned(),
            ..InferRequestedOutputTensor::default()
        }];
    });
    refused(caller.infer(output).await, Code::InvalidArgument, "unknown output `z`");
    let shared = with(|request| {
        let region = ParameterChoice::StringParam("r".to_owned());
        let region = InferParameter { parameter_choice: Some(region) };
        request.inputs[0].parameters.insert("shared_memory_region".to_owned(), region);
    });
    refused(caller.infer(shared).await, Code::Unimplemented, "shared memory");
    let strange: Result<ServerLiveResponse, _> = caller.oip("Nothing", ServerLiveRequest {}).await;
    refused(strange, Code::Unimplemented, "no method");
    let request = Request::new(ServerLiveRequest {});
    let strange: Result<tonic::Response<ServerLiveResponse>, _> = caller.send("a.Service/M", request).await;
    refused(strange, Code::Unimplemented, "server reflection lists them");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_full_services_say_so() {
    let house = House::open().await;
    let version = house.push("s", "run_ms=300").await;
    let wish = format!(r#"{{"version":"{version}","settings":{{"in_flight":1}}}}"#);
    house.ask(http::Method::PUT, "/api/v1/services/s").admin().body(wish).send().await.ok();
    let (mut one, mut other) = (Caller::of(&house).await, Caller::of(&house).await);
    let mut request = one.request(question(0.0));
    // Not `grpc-timeout`, of which this client has a clock of its own that may answer for the server.
    request.metadata_mut().insert("tenon-timeout-ms", "30".parse().unwrap());
    let late: Result<tonic::Response<ModelInferResponse>, _> =
        one.send(&format!("{OIP}/ModelInfer"), request).await;
    refused(late, Code::DeadlineExceeded, "deadline");
    until("the place is free again", async || {
        house.node.service(&"s".parse().unwrap()).unwrap().in_flight == 0
    })
    .await;
    let (first, second) = tokio::join!(one.infer(question(0.0)), other.infer(question(0.0)));
    let full = if first.is_ok() { second } else { first };
    refused(full, Code::ResourceExhausted, "1 requests in flight, its limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_limited_packed_or_not() {
    let limits = Limits { request_bytes: 10_000, ..Limits::default() };
    let house = House::with(Setup { limits, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    let mut large = question(0.0);
    large.id = "i".repeat(20_000);
    refused(Caller::of(&house).await.infer(large.clone()).await, Code::ResourceExhausted, "10000");
    for packing in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut caller = Caller::of(&house).await.packed(packing);
        assert_eq!(value(&caller.infer(question(1.0)).await.unwrap()), 2.0);
        refused(caller.infer(large.clone()).await, Code::ResourceExhausted, "limit of 10000 bytes");
        let streamed: Streaming<ModelStreamInferResponse> = caller
            .stream(&format!("{OIP}/ModelStreamInfer"), vec![question(5.0), large.clone()])
            .await
            .unwrap();
        let (answers, end) = all(streamed).await;
        assert_eq!(value(answers[0].infer_response.as_ref().unwrap()), 6.0);
        assert_eq!(end.unwrap().code(), Code::ResourceExhausted);
    }
}

async fn all<A>(mut stream: Streaming<A>) -> (Vec<A>, Option<Status>) {
    let mut answers = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return (answers, None),
            Err(status) => return (answers, Some(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_answer_in_order_and_go_on_after_errors() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    let mut requests: Vec<_> = (0..50).map(|number| question(number as f32)).collect();
    requests[7].model_name = "none".to_owned();
    requests[7].id = "wrong".to_owned();
    requests[9].parameters.extend([flag("triton_enable_empty_final_response", true)]);
    let streamed = caller.stream(&format!("{OIP}/ModelStreamInfer"), requests).await.unwrap();
    let (answers, end) = all::<ModelStreamInferResponse>(streamed).await;
    assert!(end.is_none() && answers.len() == 50);
    for (number, streamed) in answers.iter().enumerate() {
        let answer = streamed.infer_response.as_ref().unwrap();
        if number == 7 {
            assert!(streamed.error_message.contains("no service `none`"), "{streamed:?}");
            assert_eq!((answer.id.as_str(), answer.model_name.as_str()), ("wrong", "none"));
            continue;
        }
        assert_eq!((streamed.error_message.as_str(), value(answer)), ("", number as f32 + 1.0));
        let mark = answer.parameters.get("triton_final_response").map(|mark| mark.parameter_choice.clone());
        assert_eq!(mark, (number == 9).then_some(Some(ParameterChoice::BoolParam(true))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_model_stays_in_its_request() {
    let house = House::open().await;
    house.serve("s", "panic=13").await;
    let mut caller = Caller::of(&house).await;
    refused(caller.infer(question(13.0)).await, Code::Internal, "model");
    assert_eq!(value(&caller.infer(question(1.0)).await.unwrap()), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_hosts_are_asked_as_on_rest() {
    let access = Access::new(ADMIN, false).infer_token(INFER);
    let house = House::with(Setup { access, ..Setup::default() }).await;
    house.serve("s", "add=1").await;
    let mut nobody = Caller::of(&house).await;
    refused(nobody.infer(question(0.0)).await, Code::Unauthenticated, "scope `infer`");
    let stream: Result<Streaming<ModelStreamInferResponse>, _> =
        nobody.stream(&format!("{OIP}/ModelStreamInfer"), vec![question(0.0)]).await;
    refused(stream, Code::Unauthenticated, "scope `infer`");
    let live: ServerLiveResponse = nobody.oip("ServerLive", ServerLiveRequest {}).await.unwrap();
    assert!(live.live);
    let mut app = Caller::of(&house).await.token(INFER);
    assert_eq!(value(&app.infer(question(0.0)).await.unwrap()), 1.0);
    let unload = RepositoryModelUnloadRequest { model_name: "s".to_owned(), ..Default::default() };
    let denied: Result<RepositoryModelUnloadResponse, _> = app.oip("RepositoryModelUnload", unload).await;
    refused(denied, Code::PermissionDenied, "scope `admin`");
    let load = RepositoryModelLoadRequest { model_name: "s".to_owned(), ..Default::default() };
    let denied: Result<RepositoryModelLoadResponse, _> = app.oip("RepositoryModelLoad", load).await;
    refused(denied, Code::PermissionDenied, "scope `admin`");
    let quiet = LogSettingsRequest { settings: [("log_info".to_owned(), Default::default())].into() };
    let denied: Result<LogSettingsResponse, _> = app.oip("LogSettings", quiet).await;
    refused(denied, Code::PermissionDenied, "scope `admin`");

    let strange = Endpoint::from_shared(format!("http://{}", house.address)).unwrap();
    let strange = strange.origin("http://evil.example".parse().unwrap()).connect().await.unwrap();
    let mut strange = Caller { client: tonic::client::Grpc::new(strange), token: Some(INFER) };
    refused(strange.infer(question(0.0)).await, Code::PermissionDenied, "allowed_hosts");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_describe_themselves() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    let named = || "s".to_owned();
    let ready: ServerReadyResponse = caller.oip("ServerReady", ServerReadyRequest {}).await.unwrap();
    assert!(ready.ready);
    for (name, version, expected) in
        [("s", "", true), ("s", "1", true), ("s", "2", false), ("none", "", false)]
    {
        let asked = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        let ready: ModelReadyResponse = caller.oip("ModelReady", asked).await.unwrap();
        assert_eq!(ready.ready, expected, "{name} {version}");
    }
    let server: ServerMetadataResponse =
        caller.oip("ServerMetadata", ServerMetadataRequest {}).await.unwrap();
    assert_eq!((server.name.as_str(), server.version.as_str()), ("tenon", "0.0.0"));
    assert!(server.extensions.contains(&"statistics".to_owned()));
    let asked = ModelMetadataRequest { name: named(), version: String::new() };
    let model: ModelMetadataResponse = caller.oip("ModelMetadata", asked).await.unwrap();
    assert_eq!((model.versions, model.inputs[0].datatype.as_str()), (vec!["1".to_owned()], "FP32"));
    assert_eq!(model.inputs[0].shape, [-1, 1]);
    let asked = ModelConfigRequest { name: named(), version: String::new() };
    let config: ModelConfigResponse = caller.oip("ModelConfig", asked).await.unwrap();
    let config = config.config.unwrap();
    assert_eq!((config.name.as_str(), config.max_batch_size), ("s", 0));
    assert_eq!((config.input[0].data_type(), &*config.input[0].dims), (DataType::TypeFp32, &[-1, 1][..]));
    let asked = ModelConfigRequest { name: "none".to_owned(), version: String::new() };
    let none: Result<ModelConfigResponse, _> = caller.oip("ModelConfig", asked).await;
    refused(none, Code::NotFound, "no service `none`");
    let asked = SystemSharedMemoryRegisterRequest::default();
    let none: Result<SystemSharedMemoryRegisterResponse, _> =
        caller.oip("SystemSharedMemoryRegister", asked).await;
    refused(none, Code::Unimplemented, "send tensors with the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_what_happened() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    for number in 0..3 {
        caller.infer(question(number as f32)).await.unwrap();
    }
    let mut two = question(0.0);
    two.inputs[0].shape = vec![2, 1];
    two.raw_input_contents = vec![Bytes::from_static(&[0; 8])];
    caller.infer(two).await.unwrap();
    let mut wrong = question(0.0);
    wrong.inputs[0].name = "z".to_owned();
    caller.infer(wrong).await.unwrap_err();
    let asked = |name: &str, version: &str| ModelStatisticsRequest {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    let seen: ModelStatisticsResponse = caller.oip("ModelStatistics", asked("s", "1")).await.unwrap();
    let seen = &seen.model_stats[0];
    assert_eq!((seen.name.as_str(), seen.version.as_str()), ("s", "1"));
    assert_eq!((seen.inference_count, seen.execution_count), (5, 4));
    assert!(seen.last_inference > 1_600_000_000_000, "{}", seen.last_inference);
    let sums = seen.inference_stats.unwrap();
    let (success, compute) = (sums.success.unwrap(), sums.compute_infer.unwrap());
    assert_eq!((success.count, sums.fail.unwrap().count, compute.count), (4, 1, 4));
    assert!(success.ns >= compute.ns && compute.ns > 0, "{sums:?}");
    // A swap begins another row, and the old one stays.
    house.serve("s", "add=2").await;
    caller.infer(question(0.0)).await.unwrap();
    let both: ModelStatisticsResponse = caller.oip("ModelStatistics", asked("", "")).await.unwrap();
    let counts: Vec<_> = both.model_stats.iter().map(|row| (&*row.version, row.execution_count)).collect();
    assert_eq!(counts, [("1", 4), ("2", 1)]);
    let none: Result<ModelStatisticsResponse, _> = caller.oip("ModelStatistics", asked("s", "9")).await;
    refused(none, Code::NotFound, "did not serve a version 9");
    let none: Result<ModelStatisticsResponse, _> = caller.oip("ModelStatistics", asked("none", "")).await;
    refused(none, Code::NotFound, "no service `none`");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded() {
    let house = House::open().await;
    house.push("s", "add=1").await;
    let mut boss = Caller::of(&house).await.token(ADMIN);
    let index: RepositoryIndexResponse =
        boss.oip("RepositoryIndex", RepositoryIndexRequest::default()).await.unwrap();
    assert_eq!((index.models[0].name.as_str(), index.models[0].state.as_str()), ("s", "UNAVAILABLE"));
    let load = RepositoryModelLoadRequest { model_name: "s".to_owned(), ..Default::default() };
    let _: RepositoryModelLoadResponse = boss.oip("RepositoryModelLoad", load).await.unwrap();
    assert_eq!(value(&boss.infer(question(0.0)).await.unwrap()), 1.0);
    let file = model_repository_parameter::ParameterChoice::BytesParam(Bytes::from_static(b"toy add=7 end"));
    let file = ModelRepositoryParameter { parameter_choice: Some(file) };
    let load = RepositoryModelLoadRequest {
        model_name: "s".to_owned(),
        parameters: [("file:1/model.onnx".to_owned(), file)].into(),
        ..Default::default()
    };
    let _: RepositoryModelLoadResponse = boss.oip("RepositoryModelLoad", load).await.unwrap();
    assert_eq!(value(&boss.infer(question(0.0)).await.unwrap()), 7.0);
    let unload = RepositoryModelUnloadRequest { model_name: "s".to_owned(), ..Default::default() };
    let _: RepositoryModelUnloadResponse = boss.oip("RepositoryModelUnload", unload).await.unwrap();
    refused(boss.infer(question(0.0)).await, Code::NotFound, "no service `s`");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_once_or_as_it_changes() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    let check = |service: &str| Request::new(HealthCheckRequest { service: service.to_owned() });
    for name in ["", OIP, "s"] {
        let told: tonic::Response<HealthCheckResponse> =
            caller.send("grpc.health.v1.Health/Check", check(name)).await.unwrap();
        assert_eq!(told.get_ref().status, 1, "{name}");
    }
    let none: Result<tonic::Response<HealthCheckResponse>, _> =
        caller.send("grpc.health.v1.Health/Check", check("t")).await;
    refused(none, Code::NotFound, "no service `t`");
    let all: tonic::Response<HealthListResponse> =
        caller.send("grpc.health.v1.Health/List", Request::new(HealthListRequest {})).await.unwrap();
    assert_eq!(all.get_ref().statuses.len(), 3);
    let request = vec![HealthCheckRequest { service: "t".to_owned() }];
    let mut watch: Streaming<HealthCheckResponse> =
        caller.stream("grpc.health.v1.Health/Watch", request).await.unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 3, "not known yet");
    house.serve("t", "add=1").await;
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    house.ask(http::Method::DELETE, "/api/v1/services/t").admin().send().await.ok();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 3);
    // A watcher does not hold up the end.
    let ended = house.end();
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_is_spoken_under_both_names() {
    let house = House::serving().await;
    let mut caller = Caller::of(&house).await;
    for version in ["v1", "v1alpha"] {
        let ask = |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let questions = vec![
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("no.Such".to_owned())),
            ask(MessageRequest::FileContainingSymbol(OIP.to_owned())),
        ];
        let path = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let streamed = caller.stream(&path, questions).await.unwrap();
        let (answers, end) = all::<ServerReflectionResponse>(streamed).await;
        assert!(end.is_none());
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.message_response.unwrap()).collect();
        let [
            MessageResponse::ListServicesResponse(list),
            MessageResponse::ErrorResponse(error),
            MessageResponse::FileDescriptorResponse(files),
        ] = &answers[..]
        else {
            panic!("{answers:?}")
        };
        assert_eq!((list.service.len(), error.error_code), (4, 5));
        assert_eq!(files.file_descriptor_proto.len(), 2);
    }
}
