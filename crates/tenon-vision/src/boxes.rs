//! Boxes as models write them, and as callers read them: edges in pixels of the original.

use serde::Deserialize;

use crate::resize::Geometry;

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxLayout {
    /// x_min, y_min, x_max, y_max.
    Xyxy,
    /// y_min, x_min, y_max, x_max.
    Yxyx,
    /// x_min, y_min, width, height.
    Xywh,
    /// Centre x and y, width, height.
    Cxcywh,
}

/// What a one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// The whole width or height of the input.
    Normalised,
    /// A pixel of the input.
    Pixels,
}

/// x_min, y_min, x_max, y_max.
pub type Edges = [f32; 4];

impl BoxLayout {
    /// The edges of a box.
    pub fn edges(self, [a, b, c, d]: [f32; 4]) -> Edges {
        match self {
            Self::Xyxy => [a, b, c, d],
            Self::Yxyx => [b, a, d, c],
            Self::Xywh => [a, b, a + c, b + d],
            Self::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        }
    }
}

impl Coordinates {
    /// Edges in pixels of the upright original, clipped to it.
    pub fn to_original(self, edges: Edges, geometry: &Geometry) -> Edges {
        let (width, height) = (geometry.original.0 as f32, geometry.original.1 as f32);
        let unit = match self {
            Self::Normalised => (geometry.input.0 as f32, geometry.input.1 as f32),
            Self::Pixels => (1.0, 1.0),
        };
        let x = |edge: f32| ((edge * unit.0 - geometry.offset.0) / geometry.scale.0).clamp(0.0, width);
        let y = |edge: f32| ((edge * unit.1 - geometry.offset.1) / geometry.scale.1).clamp(0.0, height);
        [x(edges[0]), y(edges[1]), x(edges[2]), y(edges[3])]
    }
}

/// How much two boxes have in common: area of both over area of either; 0 where either has none.
pub fn overlap(a: &Edges, b: &Edges) -> f32 {
    let area = |edges: &Edges| (edges[2] - edges[0]).max(0.0) * (edges[3] - edges[1]).max(0.0);
    let both = [a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])];
    let both = area(&both);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let check = |layout: BoxLayout, numbers: [f32; 4]| {
            assert_eq!(layout.edges(numbers), [10.0, 20.0, 30.0, 60.0], "{layout:?}");
        };
        check(BoxLayout::Xyxy, [10.0, 20.0, 30.0, 60.0]);
        check(BoxLayout::Yxyx, [20.0, 10.0, 60.0, 30.0]);
        check(BoxLayout::Xywh, [10.0, 20.0, 20.0, 40.0]);
        check(BoxLayout::Cxcywh, [20.0, 40.0, 20.0, 40.0]);
    }

    #[test]
    fn edges_lead_back_to_the_original() {
        // A picture of 200 x 100, letterboxed into 100 x 100: half as large, 25 rows down.
        let geometry =
            Geometry { original: (200, 100), input: (100, 100), scale: (0.5, 0.5), offset: (0.0, 25.0) };
        let check = |coordinates: Coordinates, edges: Edges, expected: Edges| {
            let found = coordinates.to_original(edges, &geometry);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?} {expected:?}");
        };
        check(Coordinates::Pixels, [10.0, 35.0, 60.0, 75.0], [20.0, 20.0, 120.0, 100.0]);
        check(Coordinates::Normalised, [0.1, 0.35, 0.6, 0.75], [20.0, 20.0, 120.0, 100.0]);
        check(Coordinates::Pixels, [-10.0, 0.0, 500.0, 100.0], [0.0, 0.0, 200.0, 100.0]);
    }

    #[test]
    fn overlaps() {
        let unit = [0.0, 0.0, 1.0, 1.0];
        assert_eq!(overlap(&unit, &unit), 1.0);
        assert_eq!(overlap(&unit, &[0.5, 0.0, 1.5, 1.0]), 1.0 / 3.0);
        assert_eq!(overlap(&unit, &[2.0, 2.0, 3.0, 3.0]), 0.0);
        assert_eq!(overlap(&[0.0; 4], &[0.0; 4]), 0.0);
    }
}
