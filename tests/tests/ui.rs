//! The studio, walked from end to end without a window.

use halftone::studio::command::{Action, Command};
use halftone_tests::models::model;
use halftone_tests::studio::Driver;

#[test]
#[ignore = "draws pictures to look at, into target/screenshots"]
fn screenshots() {
    let mut driver = Driver::new([1280.0, 800.0], Vec::new());
    driver.screenshot("welcome-dark");
    driver.send(Command::Do(Action::ThemeLight));
    driver.screenshot("welcome-light");
    driver.open(&model("stories15m"));
    driver.wait("statistics", 60, |s| s.session.statistics.iter().all(Option::is_some));
    driver.screenshot("open-light");
}
