//! Pictures as SVG: lines against a count, and bars made of phases.

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;
use std::fs;
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const FONT: &str = "sans-serif";
const TEXT: RGBColor = RGBColor(36, 41, 47);
const FAINT: RGBColor = RGBColor(208, 215, 222);
/// Told apart also by those who see few colours (Okabe and Ito's).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(240, 228, 66),
    RGBColor(120, 120, 120),
];

/// One picture of a figure: its lines share the axes.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What is seen, with its unit.
    pub title: String,
    /// What is counted to the right.
    pub count: String,
    pub lines: Vec<Line>,
}

/// Points in the order of their counts.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// plotters' errors borrow the backend: their text is what is kept.
fn told<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

/// Draws `draw` on white into `file`.
fn picture(file: &Path, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(told)?;
        draw(&area)?;
        area.present().map_err(told)?;
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// Panels two in a row, below a title.
pub fn panels(file: &Path, title: &str, panels: &[Panel]) -> Result<()> {
    let rows = panels.len().div_ceil(2).max(1);
    picture(file, (900, 30 + 260 * rows as u32), |area| {
        let area = area.titled(title, (FONT, 18).into_font().color(&TEXT)).map_err(told)?;
        area.split_evenly((rows, 2)).iter().zip(panels).try_for_each(|(area, panel)| one_panel(area, panel))
    })
}

fn one_panel(area: &Area<'_>, panel: &Panel) -> Result<()> {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max).max(1e-3) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, (FONT, 14).into_font().color(&TEXT))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..right, 0.0..top)
        .map_err(told)?;
    chart
        .configure_mesh()
        .x_desc(&panel.count)
        .x_labels(6)
        .y_labels(6)
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(TEXT)
        .label_style((FONT, 11).into_font().color(&TEXT))
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| short(*value))
        .draw()
        .map_err(told)?;
    for (number, line) in panel.lines.iter().enumerate() {
        let colour = colour(number);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))
            .map_err(told)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        let dots = line.points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots).map_err(told)?;
    }
    if panel.lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 11).into_font().color(&TEXT))
            .draw()
            .map_err(told)?;
    }
    Ok(())
}

/// A figure with as many digits as tell something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 10.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

const BAR: i32 = 22;
const STEP: i32 = 34;
const LEFT: i32 = 250;
const WIDTH: i32 = 900;
const RIGHT: i32 = 80;

/// Horizontal bars, each made of phases in milliseconds from left to right. A
/// phase of the same name has the same colour in every bar; the sum stands at
/// a bar's end.
pub fn stacked_bars(file: &Path, title: &str, bars: &[(String, Vec<(String, f64)>)]) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in bars.iter().flat_map(|(_, phases)| phases) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let sum = |phases: &[(String, f64)]| phases.iter().map(|phase| phase.1).sum::<f64>();
    let longest = bars.iter().map(|(_, phases)| sum(phases)).fold(1e-3, f64::max);
    let scale = f64::from(WIDTH - LEFT - RIGHT) / longest;
    // One phase needs no legend.
    let legend = if names.len() > 1 { names.len().div_ceil(LEGENDS) as i32 } else { 0 };
    let top = 40 + legend * 20;
    let height = top + STEP * bars.len() as i32 + 10;
    picture(file, (WIDTH as u32, height as u32), |area| {
        words(area, title, (10, 10), 18)?;
        if legend > 0 {
            names.iter().enumerate().try_for_each(|(number, name)| key(area, number, name))?;
        }
        for (row, (name, phases)) in bars.iter().enumerate() {
            let y = top + STEP * row as i32;
            words(area, name, (10, y + 5), 13)?;
            let mut from = 0.0;
            for (phase, millis) in phases {
                let number = names.iter().position(|name| name == phase).unwrap_or(0);
                let (left, right) = (LEFT + (from * scale) as i32, LEFT + ((from + millis) * scale) as i32);
                area.draw(&Rectangle::new([(left, y), (right, y + BAR)], colour(number).filled())).map_err(told)?;
                from += millis;
            }
            words(area, &format!("{} ms", short(from)), (LEFT + (from * scale) as i32 + 6, y + 5), 12)?;
        }
        Ok(())
    })
}

/// Names in one line of the legend.
const LEGENDS: usize = 5;

fn key(area: &Area<'_>, number: usize, name: &str) -> Result<()> {
    let x = 10 + (number % LEGENDS) as i32 * (WIDTH - 20) / LEGENDS as i32;
    let y = 40 + (number / LEGENDS) as i32 * 20;
    area.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], colour(number).filled())).map_err(told)?;
    words(area, name, (x + 17, y), 12)
}

fn words(area: &Area<'_>, text: &str, at: (i32, i32), size: i32) -> Result<()> {
    let style = (FONT, size).into_font().transform(FontTransform::None).color(&TEXT);
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::{Line, Panel, panels, short, stacked_bars};
    use std::fs;

    #[test]
    fn bars_have_every_phase_and_the_sum() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("docs/bars.svg");
        let phases = |a, b| vec![("client".to_owned(), a), ("shim".to_owned(), b)];
        let bars = [("process".to_owned(), phases(10.0, 20.0)), ("hyperv".to_owned(), phases(10.0, 60.5))];
        stacked_bars(&file, "Where a start goes", &bars).unwrap();
        let text = fs::read_to_string(file).unwrap();
        for word in ["Where a start goes", "client", "shim", "process", "hyperv", "30 ms", "70 ms"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn panels_have_every_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.svg");
        let line = |name: &str, y| Line { name: name.into(), points: vec![(0.0, 0.0), (100.0, y)] };
        let panel = |title: &str| Panel {
            title: title.into(),
            count: "containers".into(),
            lines: vec![line("one", 3.0), line("two", 5.0)],
        };
        panels(&file, "Scale", &[panel("start"), panel("ps"), panel("memory")]).unwrap();
        let text = fs::read_to_string(file).unwrap();
        for word in ["Scale", "start", "ps", "memory", "one", "two", "containers"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert_eq!(text.matches("<polyline").count() % 6, 0, "{text}");
    }

    #[test]
    fn figures() {
        assert_eq!([0.0, 0.25, 2.5, 250.4].map(short), ["0", "0.25", "2.5", "250"]);
    }
}
