//! Raw heads: one tensor with a row for each place where the model looked, as `[adapter.detect.head]` says.

use serde::Deserialize;

use crate::boxes::BoxLayout;
use crate::nms::Candidate;
use crate::numbers::{Activation, highest, sigmoid};

/// `[adapter.detect.head]`: the columns of the tensor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadTable {
    /// The output, `[1, places, columns]`.
    pub output: String,
    /// It is `[1, columns, places]`.
    #[serde(default)]
    pub columns_first: bool,
    /// First of the four columns of the box.
    #[serde(default, rename = "box")]
    pub boxes: usize,
    /// Column of the probability that there is something at all.
    #[serde(default)]
    pub objectness: Option<usize>,
    /// First column of the classes' scores.
    #[serde(default)]
    pub classes: Option<usize>,
    /// How many classes; all columns that are left, where it is not given.
    #[serde(default)]
    pub class_count: Option<usize>,
    /// Column of the score, where the model has chosen a class itself.
    #[serde(default)]
    pub score: Option<usize>,
    /// Column of the class that the model has chosen.
    #[serde(default)]
    pub class: Option<usize>,
    /// Of objectness and classes.
    #[serde(default)]
    pub activation: Activation,
    /// Boxes are relative to cells of grids with these sides in pixels, one grid behind the other: centre
    /// `(number + cell) * stride`, size `e^number * stride`.
    #[serde(default)]
    pub strides: Vec<u32>,
}

/// Highest column that may be named.
const COLUMNS: usize = 100_000;

impl HeadTable {
    /// What is wrong with the table, whatever the model.
    pub fn fault(&self) -> Option<String> {
        let chosen = (self.score.is_some(), self.class.is_some());
        if self.classes.is_some() == chosen.0 {
            return Some("expected one of `classes` (first column of the scores) and `score`".to_owned());
        }
        if chosen.1 && !chosen.0 {
            return Some("`class` stands beside `score`, not beside `classes`".to_owned());
        }
        if self.class_count == Some(0) {
            return Some("class_count = 0: expected 1 or more".to_owned());
        }
        if self.activation == Activation::Softmax && self.classes.is_none() {
            return Some("activation = \"softmax\" is over the columns of `classes`".to_owned());
        }
        if self.strides.len() > 16 || self.strides.contains(&0) {
            return Some("strides: expected at most 16 numbers of 1 or more".to_owned());
        }
        let columns =
            [Some(self.boxes), self.objectness, self.classes, self.score, self.class, self.class_count];
        let too_far = columns.into_iter().flatten().find(|column| *column > COLUMNS)?;
        Some(format!("column {too_far}: expected at most {COLUMNS}"))
    }

    /// Columns that a row must have at least.
    pub fn least_columns(&self) -> usize {
        let classes = self.classes.map(|first| first + self.class_count.unwrap_or(1));
        let single = [self.objectness, self.score, self.class].into_iter().flatten().map(|column| column + 1);
        single.chain(classes).chain([self.boxes + 4]).max().unwrap_or(0)
    }

    /// The candidates of one picture with a score of at least `threshold`.
    ///
    /// # Errors
    /// The tensor is no table of such columns, or has another number of rows than the grids have cells.
    pub fn read(
        &self,
        values: &[f32],
        shape: &[i64],
        layout: BoxLayout,
        input: (u32, u32),
        threshold: f32,
    ) -> Result<Vec<Candidate>, String> {
        let &[.., rows, columns] = shape else {
            return Err(format!("expected [places, columns], got shape {shape:?}"));
        };
        let (places, columns) = if self.columns_first { (columns, rows) } else { (rows, columns) };
        let (places, columns) = (places as usize, columns as usize);
        if places.checked_mul(columns) != Some(values.len()) || columns < self.least_columns() {
            return Err(format!("expected rows of at least {} columns, got {shape:?}", self.least_columns()));
        }
        let steps = if self.columns_first { (1, places) } else { (columns, 1) };
        let table = Table { values, steps, columns };
        let mut cells = self.cells(input, places)?;
        let mut found = Vec::new();
        for place in 0..places {
            let cell = cells.next();
            let Some((class, score)) = self.score_of(&table, place) else { continue };
            let edges = [0, 1, 2, 3].map(|at| table.at(place, self.boxes + at));
            let edges = cell.map_or(edges, |cell| cell.decode(edges));
            let edges = layout.edges(edges);
            if score >= threshold && edges.iter().all(|edge| edge.is_finite()) {
                found.push(Candidate { edges, score, class });
            }
        }
        Ok(found)
    }

    fn score_of(&self, table: &Table<'_>, place: usize) -> Option<(i64, f32)> {
        let (class, score) = match (self.classes, self.score) {
            (Some(first), _) => {
                let end = self.class_count.map_or(table.columns, |count| first + count);
                let scores = (first..end).map(|column| table.at(place, column));
                let (class, score) = highest(scores, self.activation)?;
                (class as i64, score)
            }
            (None, column) => {
                let class = self.class.map_or(0.0, |column| table.at(place, column));
                let score = table.at(place, column?);
                (class as i64, if self.activation == Activation::Sigmoid { sigmoid(score) } else { score })
            }
        };
        let objectness = self.objectness.map_or(1.0, |column| match self.activation {
            Activation::None => table.at(place, column),
            Activation::Sigmoid | Activation::Softmax => sigmoid(table.at(place, column)),
        });
        Some((class, score * objectness))
    }

    /// The cells of all grids, one behind the other; none where boxes are not relative to cells.
    fn cells(&self, input: (u32, u32), places: usize) -> Result<impl Iterator<Item = Cell> + '_, String> {
        let grid = move |stride: u32| (input.0 / stride, input.1 / stride);
        let cells: u64 = self
            .strides
            .iter()
            .map(|stride| grid(*stride))
            .map(|(width, height)| u64::from(width) * u64::from(height))
            .sum();
        if !self.strides.is_empty() && cells != places as u64 {
            return Err(format!(
                "strides {:?} make {cells} cells of an input of {} x {}, the output has {places} places",
                self.strides, input.0, input.1
            ));
        }
        Ok(self.strides.iter().flat_map(move |stride| {
            let (width, height) = grid(*stride);
            (0..height).flat_map(move |y| (0..width).map(move |x| Cell { x, y, stride: *stride }))
        }))
    }
}

struct Table<'a> {
    values: &'a [f32],
    /// From place to place, and from column to column.
    steps: (usize, usize),
    columns: usize,
}

impl Table<'_> {
    fn at(&self, place: usize, column: usize) -> f32 {
        self.values[place * self.steps.0 + column * self.steps.1]
    }
}

struct Cell {
    x: u32,
    y: u32,
    stride: u32,
}

impl Cell {
    fn decode(&self, [x, y, width, height]: [f32; 4]) -> [f32; 4] {
        let stride = self.stride as f32;
        let (left, top) = (self.x as f32, self.y as f32);
        [(x + left) * stride, (y + top) * stride, width.exp() * stride, height.exp() * stride]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(toml: &str) -> HeadTable {
        toml::from_str(&format!("output = 'o'\n{toml}")).unwrap()
    }

    fn check(toml: &str, shape: &[i64], values: &[f32], expected: Result<&[Candidate], &str>) {
        let head = head(toml);
        assert_eq!(head.fault(), None);
        let found = head.read(values, shape, BoxLayout::Cxcywh, (4, 2), 0.3);
        match expected {
            Ok(expected) => assert_eq!(found.unwrap(), expected, "{toml}"),
            Err(text) => assert!(found.clone().unwrap_err().contains(text), "{found:?}"),
        }
    }

    #[test]
    fn columns_are_where_they_are_declared() {
        let expected = Candidate { edges: [1.0, 2.0, 3.0, 6.0], score: 0.5, class: 1 };
        let row = [2.0, 4.0, 2.0, 4.0, 0.5, 0.2, 1.0];
        let quiet = [2.0, 4.0, 2.0, 4.0, 0.1, 0.9, 1.0];
        let both = [row, quiet].concat();
        check("objectness = 4\nclasses = 5", &[1, 2, 7], &both, Ok(&[expected]));
        let turned: Vec<f32> = (0..7).flat_map(|column| [row[column], quiet[column]]).collect();
        check("objectness = 4\nclasses = 5\ncolumns_first = true", &[1, 7, 2], &turned, Ok(&[expected]));
        check("score = 4\nclass = 6", &[1, 1, 7], &row, Ok(&[expected]));
        check("classes = 5\nclass_count = 1", &[1, 1, 7], &row, Ok(&[]));
        check("classes = 9", &[1, 1, 7], &row, Err("at least 10 columns"));
        let sigmoid = [2.0, 4.0, 2.0, 4.0, 0.0, 30.0];
        let expected = Candidate { class: 1, ..expected };
        check(
            "classes = 4\nactivation = 'sigmoid'",
            &[1, 1, 6],
            &sigmoid,
            Ok(&[Candidate { score: 1.0, ..expected }]),
        );
    }

    #[test]
    fn boxes_of_cells_are_decoded() {
        // Strides 1 and 2 over 4 x 2 pixels: 8 cells and 2. Only the last cell sees something.
        let mut values = vec![0.0; 10 * 5];
        values[45..].copy_from_slice(&[0.5, 0.5, 0.0, 2f32.ln(), 0.9]);
        let expected = Candidate { edges: [2.0, -1.0, 4.0, 3.0], score: 0.9, class: 0 };
        let found =
            head("score = 4\nstrides = [1, 2]").read(&values, &[1, 10, 5], BoxLayout::Cxcywh, (4, 2), 0.3);
        let found = found.unwrap();
        assert_eq!(found.len(), 1);
        let near = found[0].edges.iter().zip(expected.edges).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near && found[0].score == 0.9, "{found:?}");
        check("score = 4\nstrides = [1]", &[1, 10, 5], &values, Err("make 8 cells"));
    }

    #[test]
    fn wrong_tables_are_told() {
        let check = |toml: &str, expected: &str| {
            let fault = head(toml).fault().unwrap();
            assert!(fault.contains(expected), "{fault}");
        };
        check("", "one of `classes`");
        check("classes = 5\nscore = 4", "one of `classes`");
        check("classes = 5\nclass = 4", "`class` stands beside `score`");
        check("classes = 5\nclass_count = 0", "class_count");
        check("classes = 5\nstrides = [0]", "strides");
        check("score = 99999999", "column 99999999");
    }

    proptest! {
        #[test]
        fn any_answer_is_candidates_or_a_text(
            values in prop::collection::vec(any::<f32>(), 0..60),
            shape in prop::collection::vec(0i64..12, 0..4),
            columns_first in any::<bool>(),
            strides in prop::collection::vec(1u32..5, 0..3),
        ) {
            let mut head = head("objectness = 4\nclasses = 5");
            (head.columns_first, head.strides) = (columns_first, strides);
            if let Ok(found) = head.read(&values, &shape, BoxLayout::Cxcywh, (4, 2), 0.1) {
                prop_assert!(found.iter().all(|found| found.edges.iter().all(|edge| edge.is_finite())));
            }
        }
    }
}
