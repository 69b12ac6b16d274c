//! Shapes of server-side SVG charts: stacked bars over time, a logarithmic scale. Only numbers; the labels are HTML in the templates.

/// Height of a bar chart in its own units.
pub const HEIGHT: f64 = 132.0;
/// Width of a bar chart in its own units.
pub const WIDTH: f64 = 960.0;

/// One rectangle of a bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Rect {
    /// Class in the sheet: `c1` permitted, `c2` refused, `c3` upstream error.
    pub class: &'static str,
    /// Left edge, one decimal.
    pub x: String,
    /// Upper edge, one decimal.
    pub y: String,
    /// Width, one decimal.
    pub width: String,
    /// Height, one decimal.
    pub height: String,
}

/// A stacked bar chart.
#[derive(Clone, Debug, Default)]
pub struct Bars {
    /// All rectangles.
    pub rects: Vec<Rect>,
    /// Labels of the vertical axis, from the top.
    pub axis: Vec<u64>,
}

/// Stacks columns of up to three values, from the bottom.
pub fn bars(columns: &[[u64; 3]]) -> Bars {
    let highest = columns.iter().map(|c| c.iter().sum::<u64>()).max().unwrap_or(0);
    let top = round_up(highest);
    let slot = WIDTH / columns.len().max(1) as f64;
    let mut rects = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let mut below = 0.0;
        for (value, class) in column.iter().zip(["c1", "c2", "c3"]) {
            if *value == 0 {
                continue;
            }
            // One unit at least, so that a single refusal among thousands is still seen.
            let height = (*value as f64 / top as f64 * HEIGHT).max(1.2);
            below += height;
            rects.push(Rect {
                class,
                x: format!("{:.1}", index as f64 * slot + slot * 0.1),
                y: format!("{:.1}", (HEIGHT - below).max(0.0)),
                width: format!("{:.1}", slot * 0.8),
                height: format!("{height:.1}"),
            });
        }
    }
    Bars { rects, axis: vec![top, top / 3 * 2, top / 3, 0] }
}

// The next number that three grid lines divide into round steps.
fn round_up(n: u64) -> u64 {
    let mut unit = 1u64;
    loop {
        for step in [1, 2, 3, 4, 5, 6, 8] {
            let top = step * unit * 3;
            if top >= n {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
        if unit > 1_000_000_000_000 {
            return n.max(3);
        }
    }
}

/// Width of the logarithmic scale in its own units.
pub const SCALE: f64 = 600.0;

/// Where a duration stands on the scale from 1 ms to 60 s.
pub fn log_place(ms: f64) -> String {
    let place = ms.clamp(1.0, 60_000.0).log10() / 60_000_f64.log10() * SCALE;
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_inside_and_small_values_are_seen() {
        let chart = bars(&[[1_570, 1, 0], [0, 0, 0], [230, 10, 2]]);
        assert_eq!(chart.axis, [1_800, 1_200, 600, 0]);
        assert_eq!(chart.rects.len(), 5);
        assert!(chart.rects.iter().all(|r| r.height.parse::<f64>().unwrap() >= 1.2 && r.y.parse::<f64>().unwrap() >= 0.0));
        assert_eq!(bars(&[]).axis, [3, 2, 1, 0]);
    }

    #[test]
    fn the_scale_is_logarithmic() {
        assert_eq!([log_place(0.2), log_place(60_000.0), log_place(900_000.0)], ["0.0", "600.0", "600.0"]);
        assert_eq!(log_place(10.0), "125.6");
    }
}
