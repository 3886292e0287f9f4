//! Records of what was observed: one JSON document a line, `docs/reference/observed.md` says how they read.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tenon_contract::NamedTensor;
use tenon_contract::observed::{Observation, Returned};

use crate::json::write;
use crate::oip::{Form, write_tensor};

/// Version of the records.
pub const VERSION: u32 = 1;

/// Who answered, as far as it is still known when feedback comes.
pub type Answered<'a> = (&'a tenon_contract::Identity, u64);

/// The line of a request that was observed.
pub fn request(observation: &Observation) -> Vec<u8> {
    let mut line = Line::begin("request", observation.at_ms, observation.id.as_str());
    line.text("service", observation.identity.service.as_str());
    line.answered((&observation.identity, observation.generation));
    line.text("operation", &observation.operation);
    line.key("micros");
    write::integer(&mut line.0, observation.micros);
    if let Some(values) = &observation.values {
        line.tensors("inputs", &values.inputs);
        line.tensors("outputs", &values.outputs);
    }
    if observation.is_cut {
        line.key("left_out");
        line.0.extend_from_slice(b"true");
    }
    line.end()
}

/// The line of feedback; who answered stands in it where that is still known.
pub fn feedback(returned: &Returned, answered: Option<Answered<'_>>) -> Vec<u8> {
    let feedback = &returned.feedback;
    let mut line = Line::begin("feedback", returned.at_ms, feedback.request_id.as_str());
    line.text("service", returned.service.as_str());
    if let Some(answered) = answered {
        line.answered(answered);
    }
    if let Some(truth) = &feedback.truth {
        line.key("truth");
        line.0.extend_from_slice(truth.to_string().as_bytes());
    }
    if let Some(score) = feedback.score {
        line.key("score");
        write::float64(&mut line.0, score);
    }
    if let Some(comment) = &feedback.comment {
        line.text("comment", comment);
    }
    line.end()
}

/// A line while it is written.
struct Line(Vec<u8>);

impl Line {
    fn begin(kind: &str, at_ms: u64, id: &str) -> Self {
        let mut line = Self(Vec::with_capacity(512));
        line.0.extend_from_slice(br#"{"version":"#);
        write::integer(&mut line.0, VERSION);
        line.text("kind", kind);
        line.key("at_ms");
        write::integer(&mut line.0, at_ms);
        line.text("id", id);
        line
    }

    fn key(&mut self, key: &str) {
        self.0.push(b',');
        write::string(&mut self.0, key);
        self.0.push(b':');
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        write::string(&mut self.0, text);
    }

    fn answered(&mut self, (identity, generation): Answered<'_>) {
        self.key("revision");
        write::integer(&mut self.0, identity.revision);
        self.text("answered_by", &identity.version.to_string());
        self.text("digest", &identity.digest.to_string());
        self.key("generation");
        write::integer(&mut self.0, generation);
    }

    fn tensors(&mut self, key: &str, tensors: &[NamedTensor]) {
        self.key(key);
        self.0.push(b'[');
        for (index, named) in tensors.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            let begun = self.0.len();
            if write_tensor(&mut self.0, named, Form::Json).is_err() {
                // Byte strings that are no text.
                self.0.truncate(begun);
                self.packed(named);
            }
        }
        self.0.push(b']');
    }

    /// A tensor whose payload stands in Base64, as it is on the wire.
    fn packed(&mut self, named: &NamedTensor) {
        self.0.extend_from_slice(br#"{"name":"#);
        write::string(&mut self.0, &named.name);
        self.0.extend_from_slice(br#","shape":"#);
        write::shape(&mut self.0, named.tensor.shape());
        self.text("datatype", named.tensor.datatype().name());
        self.text("base64", &BASE64_STANDARD.encode(named.tensor.payload()));
        self.0.push(b'}');
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenon_contract::observed::{Feedback, Values};
    use tenon_contract::{Digest, Identity, Tensor};

    use super::*;

    fn identity() -> Arc<Identity> {
        Arc::new(Identity {
            service: "s".parse().unwrap(),
            revision: 3,
            version: "m/2".parse().unwrap(),
            digest: Digest::ZERO,
        })
    }

    #[test]
    fn records_are_json_of_one_line() {
        let tensors = vec![
            NamedTensor::new("x", Tensor::from_values(vec![1, 2], vec![0.1f32, 2.0]).unwrap()),
            NamedTensor::new("b", Tensor::from_strings(vec![1], &[b"\xff\n"]).unwrap()),
        ];
        let mut observation = Observation {
            at_ms: 7,
            id: "a \"b\"".parse().unwrap(),
            operation: "infer".into(),
            identity: identity(),
            generation: 5,
            micros: 11,
            values: Some(Values { inputs: tensors, outputs: Vec::new() }),
            is_cut: false,
        };
        let digest = Digest::ZERO;
        let head = format!(
            r#"{{"version":1,"kind":"request","at_ms":7,"id":"a \"b\"","service":"s","revision":3,"answered_by":"m/2","digest":"{digest}","generation":5,"operation":"infer","micros":11"#
        );
        let values = r#","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[0.1,2.0]},{"name":"b","shape":[1],"datatype":"BYTES","base64":"AgAAAP8K"}],"outputs":[]"#;
        assert_eq!(String::from_utf8(request(&observation)).unwrap(), format!("{head}{values}}}\n"));
        (observation.values, observation.is_cut) = (None, true);
        let cut = format!("{head},\"left_out\":true}}\n");
        assert_eq!(String::from_utf8(request(&observation)).unwrap(), cut);
    }

    #[test]
    fn feedback_names_who_answered_where_that_is_known() {
        let feedback = r#"{"request_id":"i","truth":{"y":[1]},"score":0.5,"comment":"no\nway"}"#;
        let feedback: Feedback = serde_json::from_str(feedback).unwrap();
        let returned = Returned { at_ms: 9, service: "s".parse().unwrap(), feedback };
        let check = |answered: Option<Answered<'_>>, between: &str| {
            let expected = format!(
                "{{\"version\":1,\"kind\":\"feedback\",\"at_ms\":9,\"id\":\"i\",\"service\":\"s\"{between},\
                 \"truth\":{{\"y\":[1]}},\"score\":0.5,\"comment\":\"no\\nway\"}}\n"
            );
            assert_eq!(String::from_utf8(super::feedback(&returned, answered)).unwrap(), expected);
        };
        check(None, "");
        let digest = Digest::ZERO;
        let known = format!(r#","revision":3,"answered_by":"m/2","digest":"{digest}","generation":5"#);
        check(Some((&identity(), 5)), &known);
    }
}
