//! Makes Rust of the files in `proto/`: messages, and the descriptors that reflection gives out. No `protoc` is
//! needed.

use std::path::PathBuf;

const FILES: [&str; 4] = [
    "inference.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
];

const STATISTICS: [&str; 7] = [
    "ModelStatisticsResponse",
    "ModelStatistics",
    "InferStatistics",
    "InferResponseStatistics",
    "InferBatchStatistics",
    "StatisticDuration",
    "MemoryUsage",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[allow(
        clippy::disallowed_methods,
        reason = "cargo tells a build script by the environment where to write"
    )]
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(FILES)?;
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let descriptors = compiler.include_source_info(true).file_descriptor_set();
    let mut build = prost_build::Config::new();
    // The statistics in JSON are the same fields under the same names.
    for message in STATISTICS {
        build.type_attribute(format!(".inference.{message}"), "#[derive(serde::Serialize)]");
    }
    build.bytes(["."]).btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
