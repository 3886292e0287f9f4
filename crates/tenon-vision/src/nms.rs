//! Non-maximum suppression: of boxes that overlap, the one with the highest score stays.

use serde::Deserialize;

use crate::boxes::{Edges, overlap};

/// Something found, before it is mapped to the original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// As the model has them, in the order x_min, y_min, x_max, y_max.
    pub edges: Edges,
    /// Probability.
    pub score: f32,
    /// Index of the class, as the model counts.
    pub class: i64,
}

/// `[adapter.detect.nms]`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NmsTable {
    /// Boxes that overlap by more than this are one.
    pub iou: f32,
    /// Whether boxes of different classes may overlap.
    #[serde(default = "yes")]
    pub per_class: bool,
    /// Candidates looked at, the best ones: it costs their square.
    #[serde(default = "candidates")]
    pub candidates: usize,
}

fn yes() -> bool {
    true
}

fn candidates() -> usize {
    1000
}

/// Best first; of equals the one that the model has first.
pub fn sort(found: &mut [Candidate]) {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// Keeps of `found`, which is sorted, at most `most` that do not overlap with a better one.
pub fn suppress(found: &mut Vec<Candidate>, nms: &NmsTable, most: usize) {
    found.truncate(nms.candidates);
    let mut kept: Vec<Candidate> = Vec::with_capacity(most.min(found.len()));
    for candidate in found.iter() {
        if kept.len() == most {
            break;
        }
        let covered = kept.iter().any(|better| {
            let rivals = !nms.per_class || better.class == candidate.class;
            rivals && overlap(&better.edges, &candidate.edges) > nms.iou
        });
        if !covered {
            kept.push(*candidate);
        }
    }
    *found = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(left: f32, score: f32, class: i64) -> Candidate {
        Candidate { edges: [left, 0.0, left + 10.0, 10.0], score, class }
    }

    #[test]
    fn the_best_of_those_that_overlap_stays() {
        let check = |per_class: bool, most: usize, expected: &[f32]| {
            let mut found = vec![
                candidate(1.0, 0.8, 1),
                candidate(0.0, 0.9, 1),
                candidate(2.0, 0.7, 2),
                candidate(50.0, 0.6, 1),
            ];
            sort(&mut found);
            suppress(&mut found, &NmsTable { iou: 0.5, per_class, candidates: 100 }, most);
            let scores: Vec<f32> = found.iter().map(|candidate| candidate.score).collect();
            assert_eq!(scores, expected);
        };
        check(true, 10, &[0.9, 0.7, 0.6]);
        check(false, 10, &[0.9, 0.6]);
        check(true, 1, &[0.9]);
    }

    proptest! {
        #[test]
        fn what_stays_does_not_overlap(lefts in prop::collection::vec((0f32..100.0, 0f32..1.0), 0..60)) {
            let mut found: Vec<_> = lefts.iter().map(|(left, score)| candidate(*left, *score, 0)).collect();
            let all = found.clone();
            sort(&mut found);
            let nms = NmsTable { iou: 0.4, per_class: true, candidates: 1000 };
            suppress(&mut found, &nms, 1000);
            for (at, a) in found.iter().enumerate() {
                prop_assert!(found[at + 1..].iter().all(|b| overlap(&a.edges, &b.edges) <= 0.4));
            }
            // Whatever went overlaps with something better that stayed.
            for gone in all.iter().filter(|one| !found.contains(one)) {
                let covers = |kept: &&Candidate| kept.score >= gone.score && overlap(&kept.edges, &gone.edges) > 0.4;
                prop_assert!(found.iter().any(|kept| covers(&kept)));
            }
        }
    }
}
