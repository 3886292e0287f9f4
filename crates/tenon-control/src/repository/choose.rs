//! Which version of a model shall answer, as far as the repository has a say in it.
//!
//! The repository speaks when its files change, and only then: an undo or a swap by hand stands until something new
//! appears. Nothing that vanishes takes a version away.

use tenon_contract::Digest;

/// How a version in the repository stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) number: Option<u64>,
    /// Whether the model's policy keeps it.
    pub(crate) kept: bool,
    /// Its files as they are now.
    pub(crate) files: Digest,
    /// Whether it could be served: whole, of a kind that runs, and not refused as it is now.
    pub(crate) is_fit: bool,
}

/// How the service of that name stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Serving {
    /// Whether it is meant to answer.
    pub(crate) is_wanted: bool,
    /// Number of the version that answers.
    pub(crate) live: Option<u64>,
    /// The files that the repository made a version of last.
    pub(crate) handled: Option<Digest>,
}

/// The version to make answer; none leaves everything as it is. Versions come newest first.
pub(crate) fn choose(versions: &[Standing], serving: &Serving) -> Option<usize> {
    // What was served once and is wanted no more was taken out by somebody.
    if serving.handled.is_some() && !serving.is_wanted {
        return None;
    }
    let newest = versions.iter().position(|version| version.kept && version.is_fit)?;
    let version = &versions[newest];
    if serving.handled == Some(version.files) {
        return None;
    }
    let is_back = matches!((version.number, serving.live), (Some(number), Some(live)) if number < live);
    if !is_back {
        return Some(newest);
    }
    // Backwards goes only who asked for it: the policy no longer keeps the version that answers.
    let live = versions.iter().find(|other| other.number == serving.live);
    live.is_some_and(|live| !live.kept).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// `3! 2- 1`: fit and kept, `!` not fit, `-` left out by the policy; the files are named after the number.
    fn standings(text: &str) -> Vec<Standing> {
        let standing = |word: &str| {
            let digits = word.trim_end_matches(['!', '-', '\'']);
            Standing {
                number: digits.parse().ok(),
                kept: !word.contains('-'),
                files: files(&word.replace(['!', '-'], "")),
                is_fit: !word.contains('!'),
            }
        };
        text.split_whitespace().map(standing).collect()
    }

    #[test]
    fn the_repository_speaks_when_its_files_change() {
        let check = |versions: &str, live: Option<u64>, handled: Option<&str>, expected: Option<usize>| {
            let serving = Serving { is_wanted: live.is_some(), live, handled: handled.map(files) };
            assert_eq!(choose(&standings(versions), &serving), expected, "{versions} {serving:?}");
        };
        // The first start.
        check("2 1-", None, None, Some(0));
        check("2! 1-", None, None, None);
        check("2! 1", None, None, Some(1));
        check("", None, None, None);
        // Nothing new.
        check("2 1", Some(2), Some("2"), None);
        // A new version, whole and half.
        check("3 2-", Some(2), Some("2"), Some(0));
        check("3! 2-", Some(2), Some("2"), None);
        check("3! 2", Some(2), Some("2"), None);
        // An undo or a swap by hand stands, until something new comes.
        check("2 1", Some(1), Some("2"), None);
        check("3 2 1", Some(1), Some("2"), Some(0));
        // Taken out by hand, and the folder goes on.
        check("2 1", None, Some("2"), None);
        check("3 2", None, Some("2"), None);
        // Vanishing takes nothing away; a change of the policy does.
        check("1", Some(2), Some("2"), None);
        check("2- 1", Some(2), Some("2"), Some(1));
        // Changed in place: tried, and when it is refused the older one does not come back.
        check("2' 1", Some(2), Some("2"), Some(0));
        check("2'! 1", Some(2), Some("2"), None);
        // Without numbers, every change is something new.
        check("x", None, None, Some(0));
        check("x", Some(1), Some("x"), None);
        check("y", Some(1), Some("x"), Some(0));
    }
}
