//! Plots as SVG: points with lines between them, powers of ten or of four along the bottom.
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Lines over one axis.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plot {
    /// The file's name, without its extension.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
/// Around the axes; the names of the lines stand on the right.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 270.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 32.0;
/// Told apart by people who see few colours too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let least = all().map(|(x, _)| x.log10()).fold(f64::MAX, f64::min);
        let most = all().map(|(x, _)| x.log10()).fold(f64::MIN, f64::max);
        let highest = ceiling(all().map(|(_, y)| *y).fold(0.0, f64::max));
        let x = |x: f64| LEFT + (x.log10() - least) / (most - least).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let y = |y: f64| HEIGHT - BOTTOM - y / highest * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-weight=\"bold\">{}</text>\n",
            self.title
        );
        for part in 0..=4 {
            let value = highest * f64::from(part) / 4.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y(value) + 4.0,
                number(value),
                at = y(value),
            );
        }
        let mut ticks: Vec<f64> = all().map(|(x, _)| *x).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        for tick in ticks {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x(tick),
                HEIGHT - BOTTOM + 18.0,
                number(tick)
            );
        }
        for ((at, line), colour) in (0u32..).zip(&self.lines).zip(COLOURS.iter().cycle()) {
            let path: Vec<String> =
                line.points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
            let _ = writeln!(
                svg,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join("L")
            );
            for point in &line.points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    x(point.0),
                    y(point.1)
                );
            }
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
                WIDTH - RIGHT + 12.0,
                TOP + 8.0 + f64::from(at) * 18.0,
                line.name
            );
        }
        svg + "</svg>\n"
    }
}

/// A round number that is no smaller.
fn ceiling(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|round| *round >= value).unwrap_or(value)
}

/// A number as short as it can be.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e4 => format!("{} k", value / 1e3),
        value => format!("{}", (value * 100.0).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_every_point_inside_its_frame() {
        let points = vec![(1.0, 3.0), (10.0, 90.0), (1000.0, 61.0)];
        let line = |name: &str| Line { name: name.into(), points: points.clone() };
        let plot = Plot { name: "x".into(), title: "y".into(), lines: vec![line("a"), line("b")] };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 6);
        let numbers =
            svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        numbers.for_each(|x| assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}"));
        assert!(svg.contains(">100<") && svg.contains(">1000<"), "{svg}");
    }
}
