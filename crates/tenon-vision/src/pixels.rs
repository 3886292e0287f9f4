//! RGB bytes to the values a model was trained on: channels, layout, datatype, mean and deviation.

use half::f16;
use serde::Deserialize;
use tenon_contract::{Datatype, Tensor};

/// Order of the dimensions behind the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Rows, columns, channels.
    Nhwc,
    /// Channels, rows, columns.
    Nchw,
}

/// What a pixel is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel: luma by ITU-R 601.
    Grey,
}

impl Channels {
    /// How many.
    pub fn count(self) -> usize {
        if self == Self::Grey { 1 } else { 3 }
    }
}

/// How bytes become values: `(byte * scale - mean) / std`, for each channel in the order of the model.
#[derive(Clone, Debug)]
pub struct Values {
    layout: Layout,
    channels: Channels,
    table: Table,
}

/// The value of each byte, by channel.
#[derive(Clone, Debug)]
enum Table {
    /// The canvas is the payload as it stands.
    Canvas,
    Uint8(Box<[[u8; 256]; 3]>),
    Int8(Box<[[i8; 256]; 3]>),
    Fp16(Box<[[f16; 256]; 3]>),
    Fp32(Box<[[f32; 256]; 3]>),
}

impl Values {
    /// From what is declared; `None` where no table is made for the datatype.
    pub fn new(
        datatype: Datatype,
        layout: Layout,
        channels: Channels,
        scale: f64,
        mean: [f64; 3],
        std: [f64; 3],
    ) -> Option<Self> {
        let value = |channel: usize, byte: usize| (byte as f64 * scale - mean[channel]) / std[channel];
        let untouched = scale == 1.0 && mean == [0.0; 3] && std == [1.0; 3];
        let table = match datatype {
            Datatype::Uint8 if untouched && (layout, channels) == (Layout::Nhwc, Channels::Rgb) => {
                Table::Canvas
            }
            Datatype::Uint8 => Table::Uint8(table(|c, b| value(c, b).round().clamp(0.0, 255.0) as u8)),
            Datatype::Int8 => Table::Int8(table(|c, b| value(c, b).round().clamp(-128.0, 127.0) as i8)),
            Datatype::Fp16 => Table::Fp16(table(|c, b| f16::from_f64(value(c, b)))),
            Datatype::Fp32 => Table::Fp32(table(|c, b| value(c, b) as f32)),
            _ => return None,
        };
        Some(Self { layout, channels, table })
    }

    /// Shape of a batch of `rows` pictures.
    pub fn shape(&self, rows: usize, (width, height): (u32, u32)) -> Vec<i64> {
        let (rows, width, height) = (rows as i64, i64::from(width), i64::from(height));
        let channels = self.channels.count() as i64;
        match self.layout {
            Layout::Nhwc => vec![rows, height, width, channels],
            Layout::Nchw => vec![rows, channels, height, width],
        }
    }

    /// The tensor of `rows` pictures of one size, whose RGB lie one behind the other in `canvas`.
    ///
    /// # Errors
    /// The canvas has another size.
    pub fn tensor(&self, canvas: Vec<u8>, rows: usize, size: (u32, u32)) -> Result<Tensor, String> {
        let shape = self.shape(rows, size);
        let picture = size.0 as usize * size.1 as usize;
        let tensor = match &self.table {
            Table::Canvas => Tensor::from_values(shape, canvas),
            Table::Uint8(table) => Tensor::from_values(shape, self.map(&canvas, picture, table)),
            Table::Int8(table) => Tensor::from_values(shape, self.map(&canvas, picture, table)),
            Table::Fp16(table) => Tensor::from_values(shape, self.map(&canvas, picture, table)),
            Table::Fp32(table) => Tensor::from_values(shape, self.map(&canvas, picture, table)),
        };
        tensor.map_err(|error| error.to_string())
    }

    fn map<T: Copy>(&self, canvas: &[u8], picture: usize, table: &[[T; 256]; 3]) -> Vec<T> {
        let mut out = Vec::with_capacity(canvas.len() / 3 * self.channels.count());
        let order: [usize; 3] = if self.channels == Channels::Bgr { [2, 1, 0] } else { [0, 1, 2] };
        for canvas in canvas.chunks_exact(picture.max(1) * 3) {
            let pixels = canvas.chunks_exact(3);
            match (self.channels, self.layout) {
                (Channels::Grey, _) => out.extend(pixels.map(|pixel| table[0][usize::from(luma(pixel))])),
                (_, Layout::Nhwc) => {
                    for pixel in pixels {
                        out.extend([0, 1, 2].map(|at| table[at][usize::from(pixel[order[at]])]));
                    }
                }
                (_, Layout::Nchw) => {
                    for at in 0..3 {
                        let (table, from) = (&table[at], order[at]);
                        out.extend(canvas.chunks_exact(3).map(|pixel| table[usize::from(pixel[from])]));
                    }
                }
            }
        }
        out
    }
}

fn table<T: Copy + Default>(value: impl Fn(usize, usize) -> T) -> Box<[[T; 256]; 3]> {
    let mut table = Box::new([[T::default(); 256]; 3]);
    for (channel, values) in table.iter_mut().enumerate() {
        for (byte, entry) in values.iter_mut().enumerate() {
            *entry = value(channel, byte);
        }
    }
    table
}

/// Luma by ITU-R 601, in whole numbers as PIL computes it.
fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenon_contract::tensor::Element;

    /// Two pixels side by side.
    const CANVAS: [u8; 6] = [10, 20, 30, 40, 50, 60];

    fn check<T: Element + PartialEq + std::fmt::Debug>(
        layout: Layout,
        channels: Channels,
        numbers: (f64, f64, f64),
        shape: &[i64],
        expected: &[T],
    ) {
        let (scale, mean, std) = numbers;
        let values =
            Values::new(T::DATATYPE, layout, channels, scale, [mean, mean, mean], [std, std, std]).unwrap();
        let tensor = values.tensor(CANVAS.to_vec(), 1, (2, 1)).unwrap();
        assert_eq!(tensor.shape(), shape);
        assert_eq!(tensor.values::<T>().unwrap().as_ref(), expected);
    }

    #[test]
    fn values() {
        use Channels::{Bgr, Grey, Rgb};
        use Layout::{Nchw, Nhwc};
        let plain = (1.0, 0.0, 1.0);
        check::<u8>(Nhwc, Rgb, plain, &[1, 1, 2, 3], &CANVAS);
        check::<u8>(Nhwc, Bgr, plain, &[1, 1, 2, 3], &[30, 20, 10, 60, 50, 40]);
        check::<u8>(Nchw, Rgb, plain, &[1, 3, 1, 2], &[10, 40, 20, 50, 30, 60]);
        check::<u8>(Nchw, Bgr, plain, &[1, 3, 1, 2], &[30, 60, 20, 50, 10, 40]);
        check::<u8>(Nhwc, Grey, plain, &[1, 1, 2, 1], &[18, 48]);
        check::<f32>(Nhwc, Rgb, (1.0, 10.0, 10.0), &[1, 1, 2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        check::<i8>(Nhwc, Rgb, (1.0, 128.0, 1.0), &[1, 1, 2, 3], &[-118, -108, -98, -88, -78, -68]);
        let halves = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5].map(f16::from_f64);
        check::<f16>(Nhwc, Rgb, (0.1, 1.0, 2.0), &[1, 1, 2, 3], &halves);
        assert!(Values::new(Datatype::Bool, Nhwc, Rgb, 1.0, [0.0; 3], [1.0; 3]).is_none());
    }
}
