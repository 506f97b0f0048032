//! Every image shape of Project Atomic's examples, and some of our own, against golden text (fixtures/exports/INDEX.md
//! says what each is for). Needs neither root nor network.

mod shapes;

#[test]
fn every_shape_becomes_its_golden_text() {
    let shapes = shapes::all();
    assert_eq!(shapes.len(), 23, "a shape was added or lost: mend INDEX.md and this number");
    for shape in shapes {
        let outcome = shape.render().unwrap_or_else(|error| panic!("{}: {error:#}", shape.name));
        insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(shape.name.as_str(), shapes::spell(&outcome));
        });
    }
}
