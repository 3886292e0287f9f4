//! Server reflection, `v1` and `v1alpha`: which services there are and what their messages look like. It tells
//! nothing but what stands in the `.proto` files, so it is free to all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use hyper::body::Incoming;
use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tenon_codec::grpc::DESCRIPTORS;
use tenon_codec::grpc::reflection::server_reflection_request::MessageRequest;
use tenon_codec::grpc::reflection::server_reflection_response::MessageResponse;
use tenon_codec::grpc::reflection::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};
use tenon_contract::{Fault, FaultKind};

use super::frames::Messages;
use super::{Call, answers, read, unknown};
use crate::status;

pub(super) const SERVICE: &str = "grpc.reflection.v1.ServerReflection";
/// The same under the name it had before: the messages are alike on the wire.
pub(super) const OLDER: &str = "grpc.reflection.v1alpha.ServerReflection";

/// Answers a call.
pub(super) fn call(call: Call, method: &str, body: Incoming) -> Result<Response, Fault> {
    if method != "ServerReflectionInfo" {
        return Err(unknown(method));
    }
    let messages = Messages::new(call.api, call.headers, body);
    Ok(answers::stream(stream::try_unfold(messages, async |mut messages| {
        let Some(message) = messages.next().await? else { return Ok(None) };
        Ok(Some(([answers::frame(&answer(message.bytes)?)].into(), messages)))
    })))
}

fn answer(message: Bytes) -> Result<ServerReflectionResponse, Fault> {
    let asked: ServerReflectionRequest = read(message)?;
    let answer = asked.message_request.as_ref().map(|question| INDEX.answer(question));
    let nothing = || Err(Fault::invalid("expected a question, found none"));
    let answer = answer.unwrap_or_else(nothing).unwrap_or_else(|fault| {
        MessageResponse::ErrorResponse(ErrorResponse {
            error_code: status::code(fault.kind) as i32,
            error_message: fault.text,
        })
    });
    Ok(ServerReflectionResponse {
        valid_host: asked.host.clone(),
        original_request: Some(asked),
        message_response: Some(answer),
    })
}

static INDEX: LazyLock<Index> = LazyLock::new(|| Index::of(DESCRIPTORS));

/// The files, and what stands in which.
#[derive(Default)]
struct Index {
    files: BTreeMap<String, File>,
    /// Name of the file by full name of a symbol.
    symbols: BTreeMap<String, String>,
    services: Vec<String>,
}

struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

impl Index {
    fn of(descriptors: &[u8]) -> Self {
        let mut index = Self::default();
        // The bytes were made when this was built.
        for file in FileDescriptorSet::decode(descriptors).unwrap_or_default().file {
            index.add(&file);
        }
        index
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let (name, package) = (file.name(), file.package());
        for service in &file.service {
            let full = format!("{package}.{}", service.name());
            let methods = service.method.iter().map(|method| format!("{full}.{}", method.name()));
            self.symbols.extend(methods.map(|method| (method, name.to_owned())));
            self.symbols.insert(full.clone(), name.to_owned());
            self.services.push(full);
        }
        self.add_messages(name, package, &file.message_type);
        self.add_enums(name, package, &file.enum_type);
        let bytes = file.encode_to_vec().into();
        self.files.insert(name.to_owned(), File { bytes, imports: file.dependency.clone() });
    }

    fn add_messages(&mut self, file: &str, scope: &str, messages: &[DescriptorProto]) {
        for message in messages {
            let full = format!("{scope}.{}", message.name());
            let fields = message.field.iter().map(|field| format!("{full}.{}", field.name()));
            self.symbols.extend(fields.map(|field| (field, file.to_owned())));
            self.add_messages(file, &full, &message.nested_type);
            self.add_enums(file, &full, &message.enum_type);
            self.symbols.insert(full, file.to_owned());
        }
    }

    fn add_enums(&mut self, file: &str, scope: &str, enums: &[EnumDescriptorProto]) {
        self.symbols.extend(enums.iter().map(|one| (format!("{scope}.{}", one.name()), file.to_owned())));
    }

    fn answer(&self, question: &MessageRequest) -> Result<MessageResponse, Fault> {
        match question {
            MessageRequest::FileByFilename(name) => self.file(name),
            MessageRequest::FileContainingSymbol(symbol) => {
                let file = self.symbols.get(symbol).ok_or_else(|| none("symbol", symbol))?;
                self.file(file)
            }
            MessageRequest::ListServices(_) => {
                let service = self.services.iter().map(|name| ServiceResponse { name: name.clone() });
                Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service: service.collect() }))
            }
            MessageRequest::AllExtensionNumbersOfType(name) if self.symbols.contains_key(name) => {
                // This version of the language has no extensions.
                let base_type_name = name.clone();
                let answer = ExtensionNumberResponse { base_type_name, extension_number: Vec::new() };
                Ok(MessageResponse::AllExtensionNumbersResponse(answer))
            }
            MessageRequest::AllExtensionNumbersOfType(name) => Err(none("type", name)),
            MessageRequest::FileContainingExtension(asked) => {
                Err(none("extension of", &asked.containing_type))
            }
        }
    }

    /// A file and all that it imports.
    fn file(&self, name: &str) -> Result<MessageResponse, Fault> {
        let (mut open, mut seen, mut files) = (vec![name], BTreeSet::new(), Vec::new());
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                let file = self.files.get(name).ok_or_else(|| none("file", name))?;
                open.extend(file.imports.iter().map(String::as_str));
                files.push(file.bytes.clone());
            }
        }
        let answer = FileDescriptorResponse { file_descriptor_proto: files };
        Ok(MessageResponse::FileDescriptorResponse(answer))
    }
}

fn none(what: &str, name: &str) -> Fault {
    let name: String = name.chars().take(200).collect();
    Fault::new(FaultKind::NotFound, format!("no {what} `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_from_the_files() {
        let files = |question: MessageRequest| match INDEX.answer(&question) {
            Ok(MessageResponse::FileDescriptorResponse(files)) => {
                let name = |bytes: Bytes| FileDescriptorProto::decode(bytes).unwrap().name().to_owned();
                files.file_descriptor_proto.into_iter().map(name).collect::<Vec<_>>()
            }
            Ok(other) => panic!("{other:?}"),
            Err(fault) => vec![fault.text],
        };
        let both = ["inference.proto", "model_config.proto"];
        let symbol = |name: &str| files(MessageRequest::FileContainingSymbol(name.to_owned()));
        assert_eq!(symbol("inference.GRPCInferenceService"), both);
        assert_eq!(symbol("inference.GRPCInferenceService.ModelInfer"), both);
        assert_eq!(symbol("inference.ModelInferRequest.InferInputTensor"), both);
        assert_eq!(symbol("inference.ModelInstanceGroup.Kind"), ["model_config.proto"]);
        assert_eq!(symbol("inference.Nothing"), ["no symbol `inference.Nothing`"]);
        assert_eq!(files(MessageRequest::FileByFilename("x.proto".to_owned())), ["no file `x.proto`"]);
        let listed = INDEX.answer(&MessageRequest::ListServices(String::new())).unwrap();
        let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
        let names: Vec<_> = listed.service.iter().map(|service| service.name.as_str()).collect();
        let expected = ["inference.GRPCInferenceService", "grpc.health.v1.Health", SERVICE, OLDER];
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(expected));
    }
}
