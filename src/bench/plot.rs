//! A plot of lines as SVG. Pure.

use std::fmt::Write;

/// Size of the picture, and of the margins around the lines: left, right, top, bottom.
const SIZE: (f64, f64) = (680.0, 360.0);
const MARGINS: (f64, f64, f64, f64) = (64.0, 190.0, 34.0, 46.0);
/// So many steps of a scale are wanted, more or less.
const STEPS: f64 = 6.0;

/// A line.
pub struct Line<'a> {
    /// What it shows.
    pub name: &'a str,
    /// In which colour.
    pub color: &'a str,
    /// With gaps?
    pub dashed: bool,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines over one another from 0 on; `axes` names both, `marks` are heights with a name.
pub fn svg(title: &str, axes: [&str; 2], lines: &[Line<'_>], marks: &[(f64, &str)]) -> String {
    let points = lines.iter().flat_map(|line| &line.points);
    let (right, top) = points.fold((0.0_f64, 0.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let top = marks.iter().fold(top, |top, mark| top.max(mark.0));
    let (x_step, y_step) = (step(right), step(top));
    let (right, top) = ((right / x_step).ceil() * x_step, (top / y_step).ceil() * y_step);
    let (left, bottom) = (MARGINS.0, SIZE.1 - MARGINS.3);
    let x = |value: f64| left + value / right.max(1e-9) * (SIZE.0 - MARGINS.0 - MARGINS.1);
    let y = |value: f64| bottom - value / top.max(1e-9) * (bottom - MARGINS.2);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        SIZE.0, SIZE.1, SIZE.0, SIZE.1
    );
    let text = |out: &mut String, at: (f64, f64), anchor: &str, what: &str| {
        let what = what.replace('&', "&amp;").replace('<', "&lt;");
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{what}</text>",
            at.0, at.1
        );
    };
    let rule = |out: &mut String, from: (f64, f64), to: (f64, f64), style: &str| {
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
            from.0, from.1, to.0, to.1
        );
    };
    text(&mut out, (left, 20.0), "start", &format!("{title}: {}", axes[1]));
    text(&mut out, (x(right), SIZE.1 - 10.0), "end", axes[0]);
    let thin = "stroke=\"#dddddd\"";
    for value in scale(top, y_step) {
        rule(&mut out, (left, y(value)), (x(right), y(value)), thin);
        text(&mut out, (left - 8.0, y(value) + 4.0), "end", &format!("{value}"));
    }
    for value in scale(right, x_step) {
        rule(&mut out, (x(value), bottom), (x(value), bottom + 5.0), "stroke=\"#888888\"");
        text(&mut out, (x(value), bottom + 18.0), "middle", &format!("{value}"));
    }
    for (height, name) in marks {
        rule(&mut out, (left, y(*height)), (x(right), y(*height)), "stroke=\"#888888\" stroke-dasharray=\"2 4\"");
        text(&mut out, (left + 4.0, y(*height) - 4.0), "start", name);
    }
    for (at, Line { name, color, dashed, points }) in lines.iter().enumerate() {
        let dashes = if *dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let style = format!("stroke=\"{color}\" stroke-width=\"2\"{dashes}");
        let path: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" {style}/>", path.join(" "));
        for point in points {
            let _ =
                writeln!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>", x(point.0), y(point.1));
        }
        let height = MARGINS.2 + 14.0 + 20.0 * at as f64;
        rule(&mut out, (x(right) + 14.0, height), (x(right) + 40.0, height), &style);
        text(&mut out, (x(right) + 46.0, height + 4.0), "start", name);
    }
    out.push_str("</svg>\n");
    out
}

/// 1, 2 or 5 times a power of ten, so that about [`STEPS`] of it make `top`.
fn step(top: f64) -> f64 {
    let rough = (top / STEPS).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

fn scale(top: f64, step: f64) -> impl Iterator<Item = f64> {
    (0..=(top / step).round() as usize).map(move |n| n as f64 * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let check = |top: f64, expected: f64| assert!((step(top) - expected).abs() < 1e-9 * expected, "{top}");
        check(6.0, 1.0);
        check(15.0, 5.0);
        check(700.0, 200.0);
        check(6_100.0, 2_000.0);
        check(0.05, 0.01);
    }

    #[test]
    fn every_line_is_drawn_within_the_picture() {
        let line = |name, points| Line { name, color: "#000000", dashed: false, points };
        let lines = [line("a & b", vec![(2.0, 10.0), (15.0, 900.0)]), line("none", Vec::new())];
        let picture = svg("t", ["s", "ms"], &lines, &[(700.0, "end")]);
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert_eq!(picture.matches("<circle").count(), 2);
        assert!(picture.contains("a &amp; b") && picture.ends_with("</svg>\n"));
        let points = picture.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        for number in points.split([' ', ',']) {
            let number: f64 = number.parse().expect("a number");
            assert!((0.0..=SIZE.0).contains(&number), "{points}");
        }
    }
}
