//! The chart of a proof: requests by version over time, as an SVG file that stands by itself. Pure.

use std::fmt::Write as _;

use super::model::Proof;
use crate::web::chart::{HEIGHT, WIDTH, bars};

/// Room below for the times, and above for the words.
const ROOM: f64 = 24.0;

/// Draws it.
pub(super) fn draw(proof: &Proof) -> String {
    let columns: Vec<[u64; 3]> = proof.traffic.buckets.iter().map(|bucket| [bucket.old, bucket.new, bucket.failed]).collect();
    let chart = bars(&columns);
    let (width, height) = (WIDTH, HEIGHT + 2.0 * ROOM);
    let title = format!(
        "Requests by key over time: {} requests, {} failed. {}",
        proof.traffic.requests,
        proof.traffic.failed,
        escape(&proof.summary)
    );
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\"><title>{title}</title>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"0\" y=\"16\">old key <tspan fill=\"#8a97a6\">\u{25a0}</tspan> new key \
         <tspan fill=\"#1d6fb8\">\u{25a0}</tspan> failed <tspan fill=\"#c4351c\">\u{25a0}</tspan> most in one column: {}</text><g transform=\"translate(0 {ROOM})\">",
        columns.iter().map(|column| column.iter().sum::<u64>()).max().unwrap_or(0)
    );
    for rect in &chart.rects {
        let fill = match rect.class {
            "c1" => "#8a97a6",
            "c2" => "#1d6fb8",
            _ => "#c4351c",
        };
        let _ = write!(
            svg,
            "<rect fill=\"{fill}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            rect.x, rect.y, rect.width, rect.height
        );
    }
    let end = proof.traffic.buckets.last().map_or(0, |bucket| bucket.at_ms);
    let _ = writeln!(
        svg,
        "</g><text x=\"0\" y=\"{bottom}\">0 s</text><text x=\"{width}\" y=\"{bottom}\" text-anchor=\"end\">{}.{} s</text></svg>",
        end / 1_000,
        end % 1_000 / 100,
        bottom = height - 6.0
    );
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
