//! What is on the screen after which keys, on a journal of every kind of record.

use interloom_journal::IndexedJournal;
use interloom_journal::export::KeptTensors;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;

use super::figures::Figures;
use super::view::draw;
use super::walk::{Flow, Walk};

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../journal/tests/golden/v1_0.ilj"
);

fn walk() -> Walk {
    let (journal, problem) = IndexedJournal::open(GOLDEN).unwrap();
    assert_eq!(problem, None);
    let figures = Figures::new(Some(KeptTensors::open(GOLDEN).unwrap()));
    Walk::new("v1_0.ilj", journal, figures, 0)
}

/// Presses keys, `⏎` for Enter, and gives what is then on the screen.
fn screen(walk: &mut Walk, keys: &str, size: (u16, u16)) -> String {
    for key in keys.chars() {
        let code = match key {
            '⏎' => KeyCode::Enter,
            '⌫' => KeyCode::Backspace,
            '␛' => KeyCode::Esc,
            '⇟' => KeyCode::PageDown,
            '⇞' => KeyCode::PageUp,
            other => KeyCode::Char(other),
        };
        assert_eq!(
            walk.press(KeyEvent::from(code)).unwrap(),
            Flow::Stay,
            "{key}"
        );
    }
    let view = walk.view(Size::from(size)).unwrap();
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(frame, &view)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn an_exchange_is_shown_with_its_neighbours_its_figures_and_the_lanes() {
    insta::assert_snapshot!(screen(&mut walk(), "", (100, 24)), @r#"
    "v1_0.ilj: exchange 0 of 0 to 15, run 0 "forward 0"                                                  "
    "┌exchanges────────────────────────────────────────────┐┌at hand────────────────────────────────────┐"
    "│     0 VALUE     read  layers.0.attn.output.i0       ││event    VALUE                             │"
    "│     1 SWAP      steer layers.0.mlp.output.i0        ││mediator read                              │"
    "│     2 SKIP      read  layers.0.attn.output.i1       ││asked    layers.0.attn.output.i0           │"
    "│     3 REGISTER  steer layers.0.mlp.output.i1        ││at       layers.0.attn.output.i0           │"
    "│     4 BARRIER   read  layers.0.attn.output.i2       ││result   served                            │"
    "│     5 STOP      steer layers.0.mlp.output.i2        ││value    f32[2] b3:571ac40d0578            │"
    "│     6 END       read  layers.0.attn.output.i3       ││tensor   f32[2] b3:571ac40d0578            │"
    "│     7 EXCEPTION steer layers.0.mlp.output.i3        ││         2 elements, 0 NaN, 0 infinite     │"
    "│     8 PUT       read  layers.0.attn.output.i4       ││         min 0  max 0.5                    │"
    "│     9 GET       steer layers.0.mlp.output.i4        ││         mean 0.25  norm 0.5               │"
    "│    10 BACKWARD  read  layers.0.attn.output.i5       ││         [█                      █]        │"
    "│    11 VALUE     read  layers.0.attn.output.grad.i5  ││                                           │"
    "└─────────────────────────────────────────────────────┘└───────────────────────────────────────────┘"
    "┌mediators, and what they wait for─────────────────────────────────────────────────────────────────┐"
    "│read             V·K·B·■·P·∇V  -> SKIP layers.0.attn.output.i1 (2)                                │"
    "│steer            ·S·R·!·✗·G··  -> SWAP layers.0.mlp.output.i0 (1)                                 │"
    "│                                                                                                  │"
    "│                                                                                                  │"
    "│                                                                                                  │"
    "│                                                                                                  │"
    "└──────────────────────────────────────────────────────────────────────────────────────────────────┘"
    "j next  k back  : number  s site  m mediator  e event  / search  w why  ? keys  q quit              "
    "#);
}

#[test]
fn what_failed_and_why_is_shown_where_it_is() {
    insta::assert_snapshot!(screen(&mut walk(), "f", (80, 20)), @r#"
    "v1_0.ilj: exchange 7 of 0 to 15, run 0 "forward 0"                              "
    "┌exchanges─────────────────────────────────┐┌at hand───────────────────────────┐"
    "│     2 SKIP      read  layers.0.attn.outpu││event    EXCEPTION                │"
    "│     3 REGISTER  steer layers.0.mlp.output││mediator steer                    │"
    "│     4 BARRIER   read  layers.0.attn.outpu││asked    layers.0.mlp.output.i3   │"
    "│     5 STOP      steer layers.0.mlp.output││at       layers.0.mlp.output.i3   │"
    "│     6 END       read  layers.0.attn.outpu││result   served                   │"
    "│     7 EXCEPTION steer layers.0.mlp.output││fault    E008: the mediator awaits│"
    "│     8 PUT       read  layers.0.attn.outpu││a future that is not Interloom's; │"
    "│     9 GET       steer layers.0.mlp.output││only the requests of its own      │"
    "│    10 BACKWARD  read  layers.0.attn.outpu││context may be awaited, for       │"
    "│    11 VALUE     read  layers.0.attn.outpu││nothing else could be replayed; do│"
    "└──────────────────────────────────────────┘└──────────────────────────────────┘"
    "┌mediators, and what they wait for─────────────────────────────────────────────┐"
    "│read             V·K·B·■·P·∇V  ended (6)                                      │"
    "│steer            ·S·R·!·✗·G··  failed (7)                                     │"
    "│                                                                              │"
    "│                                                                              │"
    "└──────────────────────────────────────────────────────────────────────────────┘"
    "j next  k back  : number  s site  m mediator  e event  / search  w why  ? keys  "
    "#);
    insta::assert_snapshot!(screen(&mut walk(), "G", (80, 20)), @r#"
    "v1_0.ilj: exchange 15 of 0 to 15, run 2 "forward 2"                             "
    "┌exchanges─────────────────────────────────┐┌at hand───────────────────────────┐"
    "│     6 END       read  layers.0.attn.outpu││event    EXCEPTION                │"
    "│     7 EXCEPTION steer layers.0.mlp.output││mediator read                     │"
    "│     8 PUT       read  layers.0.attn.outpu││result   served                   │"
    "│     9 GET       steer layers.0.mlp.output││fault    E103: `x` has no value   │"
    "│    10 BACKWARD  read  layers.0.attn.outpu││yet; give it one on every path    │"
    "│    11 VALUE     read  layers.0.attn.outpu││that leads here                   │"
    "│    12 SWAP      steer layers.0.mlp.output││                                  │"
    "│    13 REGISTER  steer iteration.i3       ││                                  │"
    "│    14 VALUE     read  layers.0.attn.outpu││                                  │"
    "│    15 EXCEPTION read                     ││                                  │"
    "└──────────────────────────────────────────┘└──────────────────────────────────┘"
    "┌mediators, and what they wait for─────────────────────────────────────────────┐"
    "│read             ·V✗  failed (15)                                             │"
    "│steer            R··  nothing after 13                                        │"
    "│                                                                              │"
    "│                                                                              │"
    "└──────────────────────────────────────────────────────────────────────────────┘"
    "j next  k back  : number  s site  m mediator  e event  / search  w why  ? keys  "
    "#);
}

#[test]
fn keys_go_where_they_say() {
    let cases: [(&str, u64); 22] = [
        ("jj", 2),
        ("jjk", 1),
        ("k", 0),
        ("G", 15),
        ("Gj", 15),
        ("Gg", 0),
        (":7⏎", 7),
        (":7⌫3⏎", 3),
        (":⌫j", 1),
        (":7␛", 0),
        (":99⏎", 0),
        (":x⏎", 0),
        ("s", 2),
        ("ssS", 2),
        ("m", 2),
        ("jmM", 1),
        ("je", 12),
        ("GE", 7),
        ("/barrier⏎", 4),
        ("/I0⏎nnN", 0),
        ("/nowhere⏎", 0),
        ("n", 0),
    ];
    let found = cases.map(|(keys, _)| {
        let mut walk = walk();
        screen(&mut walk, keys, (80, 20));
        (keys, walk.at)
    });
    assert_eq!(found, cases);
}

#[test]
fn what_cannot_be_done_is_said() {
    let last = |keys: &str| {
        let screen = screen(&mut walk(), keys, (80, 20));
        let line = screen.lines().last().unwrap();
        line.trim_matches('"').trim_end().to_owned()
    };
    insta::assert_snapshot!(last(":99⏎"), @r#"no exchange "99": they go from 0 to 15"#);
    insta::assert_snapshot!(last("/nowhere⏎"), @r#"no exchange with "nowhere" after this one"#);
    insta::assert_snapshot!(last("k"), @"this is the first exchange");
    insta::assert_snapshot!(last("n"), @"nothing was searched for yet: type / and a text");
    insta::assert_snapshot!(last(":6⏎w"), @"this exchange carries no value");
    insta::assert_snapshot!(last("/two"), @"search: two_");
}

#[test]
fn a_text_over_the_screen_ends_with_a_key() {
    let mut walk = walk();
    let plain = screen(&mut walk, "", (90, 24));
    insta::assert_snapshot!(screen(&mut walk, "?", (90, 24)), @r#"
    "v1_0.ilj: exchange 0 of 0 to 15, run 0 "forward 0"                                        "
    "┌exchanges───────────────────────────────────────┐┌at hand───────────────────────────────┐"
    "│     0 VALUE     read  layers.0.attn.output.i0  ││event    VALUE                        │"
    "│     1 SWA┌keys──────────────────────────────────────────────────────────────┐          │"
    "│     2 SKI│j ↓ space      the next exchange                                  │t.i0      │"
    "│     3 REG│k ↑            the one before                                     │t.i0      │"
    "│     4 BAR│PgDn PgUp      a page on, a page back                             │          │"
    "│     5 STO│g Home, G End  the first, the last                                │578       │"
    "│     6 END│:              to the exchange of a number                        │578       │"
    "│     7 EXC│s S            the next, the previous at this site                │0 infinite│"
    "│     8 PUT│m M            the next, the previous of this mediator            │          │"
    "│     9 GET│e E            the next, the previous with this event             │          │"
    "│    10 BAC│f F            the next, the previous that was refused or failed  │     █]   │"
    "│    11 VAL│r R            the next, the previous run                         │          │"
    "└──────────│/              search in site, mediator, event, value and fault   │──────────┘"
    "┌mediators,│n N            search on, search back                             │──────────┐"
    "│read      │w              why: where this value came from                    │          │"
    "│steer     │?              this list                                          │          │"
    "│          │q Esc Ctrl-C   quit                                               │          │"
    "│          └──────────────────────────────────────────────────────────────────┘          │"
    "│                                                                                        │"
    "│                                                                                        │"
    "└────────────────────────────────────────────────────────────────────────────────────────┘"
    "j next  k back  : number  s site  m mediator  e event  / search  w why  ? keys  q quit    "
    "#);
    assert_eq!(screen(&mut walk, "x", (90, 24)), plain);
    let why = screen(&mut walk, "w", (90, 24));
    assert!(why.contains("the model computed it"), "{why}");
    // Beyond its last line there is nothing.
    screen(&mut walk, "jjjjjjjj", (90, 24));
}

#[test]
fn every_size_is_drawn() {
    let mut walk = walk();
    for width in (1..140).step_by(9) {
        for height in (1..30).step_by(2) {
            screen(&mut walk, "j", (width, height));
            screen(&mut walk, "?", (width, height));
            // Whatever was over the screen is gone.
            screen(&mut walk, "xk", (width, height));
        }
    }
}

#[test]
fn keys_that_end_it() {
    let ends = [
        KeyEvent::from(KeyCode::Char('q')),
        KeyEvent::from(KeyCode::Esc),
        KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
    ];
    for key in ends {
        assert_eq!(walk().press(key).unwrap(), Flow::Quit);
    }
}
