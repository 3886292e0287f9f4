//! The model behind a detector: its outputs to detections in pixels of the original.

use std::sync::Arc;

use tenon_contract::tensor::push_element;
use tenon_contract::{Datatype, Signature, Tensor, TensorSpec, picture};
use tenon_runtime::{Answers, Bundle, Call, Capabilities, LoadError, Model, RunError, Session};

use crate::declared::{DetectTable, listed, refused};
use crate::labels::Labels;
use crate::nms::{self, Candidate};
use crate::numbers::{highest, numbers};
use crate::pre::GEOMETRY;
use crate::resize::Geometry;

/// Outputs of a detector to detections.
pub struct Detections {
    signature: Signature,
    plan: Arc<Plan>,
    one_by_one: bool,
}

struct Plan {
    table: DetectTable,
    source: Source,
    labels: Labels,
}

/// Places of the outputs among the inputs of the model behind.
enum Source {
    Separate { boxes: usize, scores: usize, classes: Option<usize>, count: Option<usize> },
    Head(usize),
}

/// Puts the outputs that are named into an order.
pub(crate) struct Taken<'s> {
    outputs: &'s [TensorSpec],
    pub(crate) inputs: Vec<TensorSpec>,
}

impl<'s> Taken<'s> {
    pub(crate) fn of(signature: &'s Signature) -> Self {
        Self { outputs: &signature.outputs, inputs: Vec::new() }
    }

    /// The place of the output `name`, which is an input from now on.
    pub(crate) fn take(&mut self, key: &str, name: &str) -> Result<usize, LoadError> {
        let spec = self.outputs.iter().find(|spec| *spec.name == *name).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            refused(key, format!("no output `{name}`; the model gives {}", listed(self.outputs)))
        })?;
        if spec.datatype == Datatype::Bytes {
            return Err(refused(key, format!("output `{spec}` holds texts, not numbers")));
        }
        if let Some(at) = self.inputs.iter().position(|taken| taken.name == spec.name) {
            return Ok(at);
        }
        self.inputs.push(spec.clone());
        Ok(self.inputs.len() - 1)
    }

    /// Whether every output begins with a free dimension and has `rank` dimensions behind it: then a batch
    /// of pictures is a batch of answers.
    pub(crate) fn is_batched(&self, ranks: &[(usize, usize)]) -> bool {
        ranks.iter().all(|(at, rank)| {
            let shape = &self.inputs[*at].shape;
            shape.len() > *rank && shape[0].size().is_none()
        })
    }
}

impl Detections {
    /// What `table` says, for a model of `signature`.
    ///
    /// # Errors
    /// An output is not there or cannot be what it is declared to be; labels cannot be read.
    pub fn new(table: &DetectTable, signature: &Signature, bundle: &Bundle) -> Result<Self, LoadError> {
        let mut taken = Taken::of(signature);
        let mut ranks = Vec::new();
        let source = match (&table.head, &table.boxes, &table.scores) {
            (Some(head), ..) => {
                let at = taken.take("detect.head.output", &head.output)?;
                ranks.push((at, 2));
                Source::Head(at)
            }
            (None, Some(boxes), Some(scores)) => {
                let boxes = taken.take("detect.boxes", boxes)?;
                let scores = taken.take("detect.scores", scores)?;
                let classes = table.classes.as_deref().map(|name| taken.take("detect.classes", name));
                let classes = classes.transpose()?;
                let count =
                    table.count.as_deref().map(|name| taken.take("detect.count", name)).transpose()?;
                ranks.extend([(boxes, 2), (scores, if classes.is_some() { 1 } else { 2 })]);
                ranks.extend(classes.map(|at| (at, 1)));
                ranks.extend(count.map(|at| (at, 0)));
                Source::Separate { boxes, scores, classes, count }
            }
            _ => return Err(refused("detect", "expected `boxes` and `scores`, or a `head`")),
        };
        let one_by_one = !taken.is_batched(&ranks);
        let mut inputs = taken.inputs;
        inputs.push(TensorSpec::new(GEOMETRY, Datatype::Fp32, &[-1, Geometry::LENGTH as i64]));
        let outputs = picture::detect(table.top_k).tensors().map(|view| view.outputs).unwrap_or_default();
        let labels = Labels::read(table.labels.as_ref(), table.first_label, bundle)?;
        let plan = Plan { table: table.clone(), source, labels };
        Ok(Self { signature: Signature { inputs, outputs }, plan: Arc::new(plan), one_by_one })
    }

    /// Whether the outputs are those of one picture.
    pub fn one_by_one(&self) -> bool {
        self.one_by_one
    }
}

impl Model for Detections {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { rows_independent: Some(true), deterministic: Some(true), ..Capabilities::default() }
    }

    fn session(&self) -> Result<Box<dyn Session>, LoadError> {
        Ok(Box::new(Finds(self.plan.clone())))
    }
}

struct Finds(Arc<Plan>);

impl Session for Finds {
    fn run(&mut self, call: Call<'_>, answers: &mut dyn Answers) -> Result<(), RunError> {
        call.check()?;
        answers.send(self.0.answer(call.inputs.tensors()).map_err(RunError::Failed)?)
    }
}

/// One of the outputs, for one picture.
struct Part<'a> {
    values: &'a [f32],
    shape: &'a [i64],
}

/// The part of row `row` of `rows`: everything where there is one row.
fn part<'a>(values: &'a [f32], tensor: &'a Tensor, row: usize, rows: usize) -> Result<Part<'a>, String> {
    if rows == 1 {
        return Ok(Part { values, shape: tensor.shape() });
    }
    if tensor.rows() != rows {
        return Err(format!("an output has {} rows for {rows} pictures", tensor.rows()));
    }
    let length = values.len() / rows;
    Ok(Part { values: &values[row * length..][..length], shape: &tensor.shape()[1..] })
}

impl Plan {
    fn answer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let Some((geometries, outputs)) = inputs.split_last() else { return Err("no geometry".to_owned()) };
        let values = outputs.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let geometries = numbers(geometries)?;
        let rows = geometries.len() / Geometry::LENGTH;
        let mut answer = Answer::with_rows(rows, self.table.top_k);
        for (row, geometry) in geometries.chunks_exact(Geometry::LENGTH).enumerate() {
            let geometry = Geometry::of_numbers(geometry).ok_or("no geometry")?;
            let parts = values.iter().zip(outputs);
            let parts: Vec<_> =
                parts.map(|(values, tensor)| part(values, tensor, row, rows)).collect::<Result<_, _>>()?;
            let mut found = self.candidates(&parts, &geometry)?;
            nms::sort(&mut found);
            match &self.table.nms {
                Some(nms) => nms::suppress(&mut found, nms, self.table.top_k),
                None => found.truncate(self.table.top_k),
            }
            self.push(&mut answer, &found, &geometry)?;
        }
        answer.tensors(rows, self.table.top_k)
    }

    /// What scores at least the threshold, in the order of the model.
    fn candidates(&self, parts: &[Part<'_>], geometry: &Geometry) -> Result<Vec<Candidate>, String> {
        let table = &self.table;
        match (&self.source, &table.head) {
            (Source::Head(at), Some(head)) => {
                let part = &parts[*at];
                head.read(part.values, part.shape, table.box_layout, geometry.input, table.threshold)
            }
            (Source::Separate { boxes, scores, classes, count }, _) => {
                let boxes = parts[*boxes].values;
                let classes = classes.map(|at| parts[at].values);
                let count = count.and_then(|at| parts[at].values.first().copied());
                self.separate(boxes, parts[*scores].values, classes, count)
            }
            _ => Err("no head".to_owned()),
        }
    }

    fn separate(
        &self,
        boxes: &[f32],
        scores: &[f32],
        classes: Option<&[f32]>,
        count: Option<f32>,
    ) -> Result<Vec<Candidate>, String> {
        let places = boxes.len() / 4;
        let columns = scores.len().checked_div(places).unwrap_or(0);
        let odd = !boxes.len().is_multiple_of(4) || scores.len() != places * columns;
        if odd || classes.is_some_and(|classes| classes.len() != places || columns != 1) && places > 0 {
            let of_classes = classes.map_or(String::new(), |classes| format!(", {} classes", classes.len()));
            return Err(format!(
                "boxes of {} numbers do not go with {} scores{of_classes}",
                boxes.len(),
                scores.len()
            ));
        }
        let counted = count.map_or(places, |count| count.max(0.0) as usize).min(places);
        let mut found = Vec::new();
        for place in 0..counted {
            let (class, score) = match classes {
                Some(classes) => (classes[place].round() as i64, scores[place]),
                None => match self.best(&scores[place * columns..][..columns]) {
                    Some(best) => best,
                    None => continue,
                },
            };
            let numbers = [0, 1, 2, 3].map(|at| boxes[place * 4 + at]);
            let edges = self.table.box_layout.edges(numbers);
            if score >= self.table.threshold && edges.iter().all(|edge| edge.is_finite()) {
                found.push(Candidate { edges, score, class });
            }
        }
        Ok(found)
    }

    /// The best class of a place, without the background.
    fn best(&self, scores: &[f32]) -> Option<(i64, f32)> {
        let (class, score) = highest(scores.iter().copied(), self.table.activation)?;
        match self.table.background {
            Some(background) if background == class => None,
            _ => Some((class as i64, score)),
        }
    }

    fn push(&self, answer: &mut Answer, found: &[Candidate], geometry: &Geometry) -> Result<(), String> {
        for candidate in found {
            let class = self.class(candidate.class)?;
            answer.boxes.extend(self.table.coordinates.to_original(candidate.edges, geometry));
            answer.scores.push(candidate.score);
            answer.classes.push(class);
            push_element(&mut answer.labels, self.labels.name(class).as_bytes());
        }
        let free = self.table.top_k - found.len();
        answer.boxes.extend(std::iter::repeat_n(0.0, free * 4));
        answer.scores.extend(std::iter::repeat_n(0.0, free));
        answer.classes.extend(std::iter::repeat_n(0, free));
        (0..free).for_each(|_| push_element(&mut answer.labels, b""));
        answer.counts.push(found.len() as i32);
        answer.sizes.extend([geometry.original.0 as i32, geometry.original.1 as i32]);
        Ok(())
    }

    fn class(&self, own: i64) -> Result<i64, String> {
        match &self.table.class_ids {
            None => Ok(own.saturating_add(self.table.class_offset)),
            Some(ids) => {
                let id = usize::try_from(own).ok().and_then(|own| ids.get(own)).copied();
                id.ok_or_else(|| format!("class {own} is beyond the {} of `class_ids`", ids.len()))
            }
        }
    }
}

/// The tensors of the view while they are filled.
struct Answer {
    boxes: Vec<f32>,
    scores: Vec<f32>,
    classes: Vec<i64>,
    labels: Vec<u8>,
    counts: Vec<i32>,
    sizes: Vec<i32>,
}

impl Answer {
    fn with_rows(rows: usize, top_k: usize) -> Self {
        let all = rows * top_k;
        Self {
            boxes: Vec::with_capacity(all * 4),
            scores: Vec::with_capacity(all),
            classes: Vec::with_capacity(all),
            labels: Vec::with_capacity(all * 8),
            counts: Vec::with_capacity(rows),
            sizes: Vec::with_capacity(rows * 2),
        }
    }

    fn tensors(self, rows: usize, top_k: usize) -> Result<Vec<Tensor>, String> {
        let (n, k) = (rows as i64, top_k as i64);
        let tensors = [
            Tensor::from_values(vec![n, k, 4], self.boxes),
            Tensor::from_values(vec![n, k], self.scores),
            Tensor::from_values(vec![n, k], self.classes),
            Tensor::new(Datatype::Bytes, vec![n, k], self.labels.into()),
            Tensor::from_values(vec![n], self.counts),
            Tensor::from_values(vec![n, 2], self.sizes),
        ];
        tensors.into_iter().collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}
