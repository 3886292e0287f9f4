//! The suite that every runtime passes. Memory is measured in `memory.rs`, alone in its process.

mod support;

use tenon_runtime::runtime_suite;

runtime_suite!(support::case(|| 0));
