"""``undercroft data``: the versions of a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from undercroft.cli.artifacts import size
from undercroft.cli.bar import bar
from undercroft.cli.main import State, print_json
from undercroft.cli.mix import mix, print_mixture
from undercroft.cli.review import reject, release, review
from undercroft.errors import BadInput, Tampered

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
reason_option = click.option(
    "--reason", default="asked for by hand", show_default=True, help="Kept for ever."
)


@click.group(epilog="Example:  undercroft data diff handbook@1 handbook@2")
def data() -> None:
    """Look at, compare, restore, export and verify the versions of a dataset.

    DATASET is a name, NAME@VERSION or NAME@TAG; without one the project's own.
    """


for command in (review, release, reject, mix):
    data.add_command(command)


@data.command("ls", short_help="List the datasets.", epilog="Example:  undercroft data ls --json")
@as_json_option
@click.pass_obj
def list_datasets(state: State, as_json: bool) -> None:
    """List the datasets, each with its newest version."""
    from undercroft.versions import log

    project = state.project()
    names = dict.fromkeys(a.name for a in project.ledger.artifacts("dataset", limit=1000))
    newest = [log(project, name, limit=1)[0] for name in names]
    if as_json:
        print_json([asdict(version) for version in newest])
        return
    if not newest:
        click.echo("There is no dataset yet. Begin with: undercroft up FOLDER")
    for version in newest:
        click.echo(_line(version))


@data.command(
    "log",
    short_help="List the versions of a dataset.",
    epilog="Example:  undercroft data log --limit 5",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Newest first."
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Versions passed over.")
@as_json_option
@click.pass_obj
def show_log(state: State, name: str, limit: int, offset: int, as_json: bool) -> None:
    """List the versions of a dataset; ▸ marks the one that the main job uses."""
    from undercroft.versions import log
    from undercroft.versions.names import dataset_of

    project = state.project()
    versions = log(project, dataset_of(project, name).name, limit, offset)
    if as_json:
        print_json([asdict(version) for version in versions])
        return
    for version in versions:
        click.echo(_line(version))


@data.command(
    short_help="Show one version, and what it left out.",
    epilog="Example:  undercroft data show handbook@2",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option("--rule", help="Only what this rule removed.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows shown at most."
)
@as_json_option
@click.pass_context
def show(context: click.Context, name: str, rule: str | None, limit: int, as_json: bool) -> None:
    """Show one version: what it keeps, what it left out, by which rule and value."""
    from undercroft.cli.artifacts import show as show_artifact
    from undercroft.versions.names import dataset_of

    ref = str(dataset_of(context.obj.project(), name).ref)
    context.invoke(show_artifact, ref=ref, rule=rule, limit=limit, offset=0, as_json=as_json)


@data.command(
    short_help="Compare two versions.",
    epilog="Example:  undercroft data diff handbook@1 handbook@2 --json",
)
@click.argument("a")
@click.argument("b", required=False)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Documents named at most.",
)
@as_json_option
@click.pass_obj
def diff(state: State, a: str, b: str | None, limit: int, as_json: bool) -> None:
    """Compare version A with B, or with the newest: documents, rules, sources, statistics."""
    from undercroft.versions import diff as compare
    from undercroft.versions.names import dataset_of

    project = state.project()
    before = dataset_of(project, a)
    found = compare(project, before, dataset_of(project, b or before.name), limit)
    if as_json:
        print_json(asdict(found))
        return
    _print_difference(asdict(found))


@data.command(
    short_help="Give a version a name.", epilog="Example:  undercroft data tag handbook@2 golden"
)
@click.argument("name", metavar="DATASET")
@click.argument("tag")
@click.pass_obj
def tag(state: State, name: str, tag: str) -> None:
    """Give a version a name; a name given again moves."""
    from undercroft.versions.names import dataset_of

    project = state.project()
    artifact = dataset_of(project, name)
    if tag.isdigit():
        raise BadInput(f"The tag {tag!r} would be read as a version.", do="Use a word.")
    project.ledger.set_alias(artifact.ref, tag, "local")
    click.echo(f"dataset:{artifact.name}@{tag} is {artifact.ref}")


@data.command(
    short_help="Have the main job use an older version.",
    epilog="Example:  undercroft data restore handbook@1 --reason 'the new source is bad'",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option("--newest", is_flag=True, help="Follow the newest version again.")
@reason_option
@click.pass_obj
def restore(state: State, name: str, newest: bool, reason: str) -> None:
    """Have the main job use this version from now on; nothing is copied."""
    from undercroft.versions import follow
    from undercroft.versions import restore as bring_back
    from undercroft.versions.names import dataset_of

    project = state.project()
    artifact = dataset_of(project, name)
    if newest:
        follow(project, artifact.name, reason)
        click.echo(f"The newest version of dataset:{artifact.name} is in use.")
        return
    if "@" not in name:
        raise BadInput(
            f"Which version of {artifact.name} is not said.",
            do=f"Name one of: undercroft data log {artifact.name}",
        )
    bring_back(project, artifact, reason)
    click.echo(f"{artifact.ref} is in use. Make everything of it again with: undercroft up")


@data.command(
    short_help="Write a version as files for other tools.",
    epilog="Example:  undercroft data export handbook@2 --to exported --format jsonl",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="New folder.")
@click.option(
    "--format", "form", type=click.Choice(["parquet", "jsonl"]), default="parquet",
    show_default=True, help="Of the data; card and Croissant description come with both.",
)  # fmt: skip
@click.option("--purpose", default="", help="Only the rows and columns that this one may see.")
@click.option("--mixed", is_flag=True, help="As [mixture] says; see it with: undercroft data mix")
@as_json_option
@click.pass_obj
def export(
    state: State, name: str, folder: Path, form: Any, purpose: str, mixed: bool, as_json: bool
) -> None:
    """Write the kept documents as files for `datasets`, pandas, DuckDB and Croissant loaders.

    With --mixed a group gives as much as [mixture] says; a document that is taken again has a row
    for each time, counted in the column `epoch`.
    """
    from undercroft.versions.export import export as write
    from undercroft.versions.mixture import mixture
    from undercroft.versions.names import dataset_of

    project = state.project()
    artifact = dataset_of(project, name)
    drawn = mixture(project, artifact, project.settings.mixture, purpose) if mixed else None
    with bar("export", as_json) as tell:
        files = write(project, artifact, folder, form, tell, purpose=purpose, mixed=drawn)
    if as_json:
        written = {"dataset": str(artifact.ref), "files": [asdict(file) for file in files]}
        print_json({**written, "mixture": asdict(drawn.mixture)} if drawn else written)
        return
    if drawn:
        print_mixture(drawn.mixture)
    for file in files:
        click.echo(f"{size(file.size_bytes):>9}  {folder / file.name}")
    click.echo(f"{artifact.ref} is in {folder}, with its card and croissant.json")


@data.command(
    short_help="Print the card of a version.",
    epilog="Example:  undercroft data card handbook@2 > CARD.md",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.pass_obj
def card(state: State, name: str) -> None:
    """Print the card of a version, computed from the ledger."""
    from undercroft.versions.card import card as card_of
    from undercroft.versions.names import dataset_of

    project = state.project()
    click.echo(card_of(project, dataset_of(project, name)), nl=False)


@data.command(
    short_help="Show what a version is made of, and whom its rules removed.",
    epilog="Example:  undercroft data report handbook@2 --json",
)
@click.argument("name", metavar="[DATASET]", default="")
@click.option("--groups", default=8, show_default=True, help="Of each kind shown at most.")
@as_json_option
@click.pass_obj
def report(state: State, name: str, groups: int, as_json: bool) -> None:
    """Show languages, sources, domains, licences, years and mentions of people, before and after.

    Groups that the rules keep much less often than the others are marked ⚠: is that intended?
    """
    from undercroft.versions.composition import composition
    from undercroft.versions.names import dataset_of

    project = state.project()
    found = composition(project, dataset_of(project, name))
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"{found.ref}: {found.kept:,} of {found.documents:,} documents kept")
    for dimension, rows in found.dimensions.items():
        note = f", in {found.sampled:,} documents read" if dimension == "mentions" else ""
        click.echo(click.style(f"\n{dimension}{note}", bold=True))
        for group in rows[:groups]:
            click.echo(_group_line(group, found.documents))
        if len(rows) > groups:
            click.echo(f"  … and {len(rows) - groups} more (--groups, --json)")


@data.command(
    short_help="Rehash a version.", epilog="Example:  undercroft data verify handbook@2 --json"
)
@click.argument("name", metavar="[DATASET]", default="")
@as_json_option
@click.pass_obj
def verify(state: State, name: str, as_json: bool) -> None:
    """Rehash a version; a flipped byte or a row that vanished is an error."""
    from undercroft.versions import verify as rehash
    from undercroft.versions.names import dataset_of

    project = state.project()
    with bar("verify", as_json) as tell:
        found = rehash(project, dataset_of(project, name), tell)
    if as_json:
        print_json({**asdict(found), "intact": found.intact})
    if not found.intact:
        raise Tampered(
            f"{found.ref} is not what was made.",
            found.problem
            or f"{len(found.damaged)} rows differ, {len(found.missing)} are missing, "
            f"{len(found.files)} files are not as written.",
            "Restore the lake from a backup, or make it again with: undercroft up",
        )
    if not as_json:
        erased = f", {len(found.erased)} erased on request" if found.erased else ""
        click.echo(f"{found.ref} is intact: {found.rows:,} rows{erased}")


def _line(version: Any) -> str:
    mark = "▸" if version.in_use else " "
    tags = " ".join(version.tags)
    how = "  (restored)" if version.restored else ""
    return (
        f"{mark} {version.ref:32} {version.created_at:%Y-%m-%d %H:%M}  "
        f"{version.kept:>9,} of {version.documents:,} kept  policy {version.policy}"
        f"{'  ' + tags if tags else ''}{how}"
    )


def _group_line(group: Any, documents: int) -> str:
    """A group with a bar of how many it is, the part that is kept filled."""
    length = max(1, round(24 * group.documents / max(documents, 1)))
    filled = round(length * group.kept_rate)
    bar = f"{'█' * filled}{'░' * (length - filled)}"
    rules = ", ".join(f"{rule} {count:,}" for rule, count in list(group.removed.items())[:3])
    mark = "⚠" if group.is_uneven else " "
    name = group.name if len(group.name) <= 28 else f"{group.name[:27]}…"
    kept = f"{group.kept:>9,} of {group.documents:>9,}"
    return f"{mark} {name:28} {kept}  {bar:24}  {rules}".rstrip()


def _print_difference(found: dict[str, Any]) -> None:
    click.echo(f"{found['a']} → {found['b']}")
    if not found["counts"] and not found["policy"]:
        click.echo("  the same documents under the same policy")
    for change, count in found["counts"].items():
        click.echo(f"  {count:>7,} {change}")
    for head in ("policy", "removed", "sources", "languages", "statistics"):
        if found[head]:
            click.echo(click.style(f"  {head}", dim=True))
        for name, (before, after) in found[head].items():
            click.echo(f"    {name}: {before} → {after}")
    for each in found["changes"]:
        rule = f"  {each['rule']}" if each["rule"] else ""
        click.echo(f"  {each['change']:9} {each['uri']}{rule}")
