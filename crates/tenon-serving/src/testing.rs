//! What tests of this room share: revisions of toy models.

use tenon_contract::{
    Contract, Datatype, Digest, Memory, Proof, ProofKey, ProofKind, Revision, Settings, Signature,
    TensorSpec, Version, version::About,
};

/// A version of the model `toy` over a toy's text.
pub(crate) fn version(number: u64, text: &str) -> Version {
    let spec = |name: &str| TensorSpec::new(name, Datatype::Fp32, &[-1, 1]);
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    let digest = Digest::of(text.as_bytes());
    Version {
        id: format!("toy/{number}").parse().unwrap(),
        digest,
        size: text.len() as u64,
        format: "toy".parse().unwrap(),
        contract: Contract::of_signature(&signature),
        signature,
        proof: Proof {
            key: ProofKey {
                artifact: digest,
                runtime: "toy 1".into(),
                processor: std::env::consts::ARCH.into(),
            },
            kind: ProofKind::Synthetic,
            examples: 3,
            rows_independent: Some(true),
            repeatable: true,
            notes: vec![],
            call_micros: if text.contains("run_ms") { 10_000 } else { 5 },
            load_micros: 10,
            memory: Memory::cpu(1000),
            session_memory: Memory::cpu(100),
        },
        about: About::default(),
        registered_at: 0,
    }
}

/// A revision of a service over a toy's text.
pub(crate) fn revision(service: &str, number: u64, text: &str) -> Revision {
    let version = version(number, text);
    Revision::primary(
        number,
        service.parse().unwrap(),
        version.contract.clone(),
        version,
        Settings::default(),
    )
}
