//! The few statistics that a report needs.

/// The middle of the values; between the two middle ones where their number is even.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// The value that a share of `quantile` (0 to 1) does not exceed.
pub fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied()
}

/// Slope of a line through the points after Theil and Sen: the median of the slopes of all pairs.
/// A few outliers do not bend it.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(index, a)| points[index + 1..].iter().map(move |b| (a, b)))
        .filter(|(a, b)| a.0 != b.0)
        .map(|(a, b)| (b.1 - a.1) / (b.0 - a.0))
        .collect();
    median(&slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(
            (median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])),
            (None, Some(2.0), Some(2.5))
        );
        let ramp: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            (quantile(&ramp, 0.99), quantile(&ramp, 1.0), quantile(&[], 0.5)),
            (Some(198.0), Some(200.0), None)
        );
        let mut line: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), 3.0 * f64::from(x) + 1.0)).collect();
        line[7].1 = 1e9;
        assert_eq!((theil_sen(&line), theil_sen(&line[..1])), (Some(3.0), None));
    }
}
