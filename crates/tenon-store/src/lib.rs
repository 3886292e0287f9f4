//! Bytes by digest: a verified, resumable store over object_store
