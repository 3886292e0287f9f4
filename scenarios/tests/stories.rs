//! Every story of `stories/`, each a test of its name.

use std::path::Path;

/// One test a story, and one that no story was forgotten.
macro_rules! stories {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                let text = include_str!(concat!("../stories/", stringify!($name), ".toml"));
                if let Err(error) = tenon_scenarios::stage::play(text) {
                    panic!("{error:#}");
                }
            }
        )+

        #[test]
        fn every_story_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!([$(stringify!($name)),+].contains(&name), "{} is not played", path.display());
            }
        }
    };
}

stories! {
    access
    breaking_swap
    bundles
    corrupt_catalog
    deleted_catalog
    first_detection
    first_start
    forged_receipts
    no_onnxruntime
    port_taken
    push_swap_undo
    same_bytes_twice
    two_servers
    unknown_things
}
