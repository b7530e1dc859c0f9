"""The commands ``textgym feedback ...``. Each imports what it needs when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from textgym import console
from textgym.cli import moderation
from textgym.cli import options as options
from textgym.cli.agent_options import task_options
from textgym.cli.command import Command, Group
from textgym.errors import suggested
from textgym.feedback.types import Mode
from textgym.naming import argument
from textgym.text.plurals import counted
from textgym.types import Split

if TYPE_CHECKING:
    from textgym.feedback.projects import Status

TOKEN_VARIABLE = "TEXTGYM_FEEDBACK_TOKEN"
_MIN_TOKEN = 16

feedback_app = typer.Typer(
    cls=Group,
    help="Human feedback: questions, annotators and their answers.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_Project = Annotated[str, typer.Argument(metavar="PROJECT.db", help="The project; made if there is none.")]
_Existing = Annotated[str, typer.Argument(metavar="PROJECT.db", help="The project.")]
_Source = Annotated[str, typer.Argument(metavar="FILE", help="Questions as JSON lines, or answers of any shape.")]
_Target = Annotated[str, typer.Argument(metavar="FILE", help="Output file in the format of --form; overwritten.")]


@feedback_app.command(cls=Command)
def serve(
    project: _Project,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; other than this machine's own, it needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 picks a free one.")] = 8765,
    name: Annotated[str | None, typer.Option("--name", help="Your annotator name.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title shown on every page.")] = None,
    guidelines: Annotated[str | None, typer.Option("--guidelines", help="File with the annotation guidelines.")] = None,
    blind: Annotated[
        bool | None,
        typer.Option(
            "--blind/--no-blind", help="Hide which model wrote a response (the default), or show it after the answer."
        ),
    ] = None,
    word_counts: Annotated[
        bool | None,
        typer.Option("--word-counts/--no-word-counts", help="Show the number of words of each text; off by default."),
    ] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Require a token or an account on this machine too.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Another host name of this server.")
    ] = None,
    https: Annotated[
        bool,
        typer.Option(
            "--https",
            help="Behind a reverse proxy on this machine that serves HTTPS under the name given by --allow-host.",
        ),
    ] = False,
) -> None:
    """Serve the annotation page."""
    from textgym.feedback.server.requirements import require_page, user_name

    require_page()
    from textgym.feedback.projects import page_settings
    from textgym.feedback.server.serve import Address, serve
    from textgym.feedback.store.project import FeedbackStore

    address = Address(host, port, closed, _token(), tuple(allow_host or ()), https)
    changes = page_settings(title=title, guidelines=guidelines, blind=blind, word_counts=word_counts)
    with FeedbackStore(project) as store:
        store.update_setting("project", lambda known: {**(known or {}), **changes})
        if changes.get("reveal") and store.has_checks():
            console.warn("Who wrote a text is not shown: there are attention checks, whose texts nobody wrote.")
        if not store.progress().items:
            console.remark(f"There are no questions in {project} yet: see textgym feedback sample, and import.")
        if https:
            console.remark(f"Expecting a reverse proxy from {address.names[0]} to {host}, port {port}.")
        serve(store, address, name or user_name(), lambda link: _announce(project, link))
        console.say(f"Stopped. All answers are in {project}.")


def _token() -> str | None:
    """Return the token in the environment.

    Raises:
        ValueError: It is too short.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and len(token) < _MIN_TOKEN:
        raise ValueError(f"expected {TOKEN_VARIABLE} of {_MIN_TOKEN} characters or more, got {len(token)}; lengthen it")
    return token


def _announce(project: str, link: str) -> None:
    """Say where the page is."""
    console.say(f"Annotation page of {project}: {link}   (Ctrl-C stops)")
    if "token=" in link:
        console.remark("Whoever opens this link is the owner. Invite annotators on the page 'People'.")


@feedback_app.command(cls=Command)
def sample(
    project: _Project,
    env_id: options.EnvId = "TextSumm-v0",
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    prompt_template: options.PromptTemplate = None,
    difficulty: options.Difficulty = None,
    task_option: options.TaskOption = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="Model that generates the responses; repeat it for several models. Default: that of ENV_ID."
        ),
    ] = None,
    references: Annotated[bool, typer.Option("--references", help="Include the reference responses.")] = False,
    mode: Annotated[
        str, typer.Option("--mode", help="Kind of question: compare, rank, rate, edit or natural.")
    ] = "compare",
    prompts: Annotated[int, typer.Option("--prompts", help="Number of questions.")] = 100,
    responses: Annotated[
        int | None, typer.Option("--responses", help="Responses per question; by default 2 to compare, 4 to rank.")
    ] = None,
    criterion: Annotated[
        list[str] | None, typer.Option("--criterion", help="A further rating criterion; repeat it for several.")
    ] = None,
    overlap: Annotated[int, typer.Option("--overlap", help="Annotators per question.")] = 1,
    checks: Annotated[int, typer.Option("--checks", help="Number of attention checks.")] = 0,
    split: options.Split = "train",
    temperature: options.Temperature = 1.0,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Fill a project with questions about responses of one or several models."""
    from textgym.cli.quiet import quiet_libraries
    from textgym.envs.choice import EnvChoice
    from textgym.rlhf.questions import run_sample

    quiet_libraries()
    chosen = task_options(difficulty, task_option)
    choice = EnvChoice(env_id, data, prompt_column, reference_column, prompt_template, chosen)
    run_sample(
        project,
        choice,
        tuple(model or (choice.start_model(),)),
        prompts=prompts,
        mode=cast(Mode, mode),
        responses=responses,
        references=references,
        criteria=tuple(dict.fromkeys(criterion or ())),
        overlap=overlap,
        checks=checks,
        split=cast(Split, split),
        temperature=temperature,
        max_prompt_tokens=max_prompt_tokens,
        max_new_tokens=max_new_tokens,
        seed=seed,
        device=device,
    )


@feedback_app.command(cls=Command)
def simulate(
    project: _Existing,
    annotators: Annotated[int, typer.Option("--annotators", help="Number of simulated annotators.")] = 3,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Preference of the annotators: length, or a reward such as gold or rouge."),
    ] = None,
    votes: Annotated[
        int | None, typer.Option("--votes", help="Answers of each annotator; by default to all questions.")
    ] = None,
    noise: Annotated[
        float,
        typer.Option(
            "--noise",
            help="Label noise: the score difference at which the better response is preferred in 73 % of cases.",
        ),
    ] = 0.1,
    spammers: Annotated[float, typer.Option("--spammers", help="Share of annotators who answer at random.")] = 0.0,
    position_bias: Annotated[
        float, typer.Option("--position-bias", help="Score added to the response shown first.")
    ] = 0.0,
    length_bias: Annotated[
        float, typer.Option("--length-bias", help="Score added per doubling of the length in words.")
    ] = 0.0,
    seed: options.Seed = 0,
) -> None:
    """Answer with simulated annotators."""
    from textgym.cli.quiet import quiet_libraries
    from textgym.feedback.annotators.simulated import Habits
    from textgym.rlhf.questions import run_simulate

    quiet_libraries()
    habits = Habits(noise=noise, position_bias=position_bias, length_bias=length_bias)
    run_simulate(project, annotators=annotators, by=by, votes=votes, habits=habits, spammers=spammers, seed=seed)


@feedback_app.command("export", cls=Command)
def export_command(
    project: _Existing,
    file: _Target,
    form: Annotated[
        str, typer.Option("--form", help="Format: votes, questions, records, preferences, labels or csv.")
    ] = "votes",
    excluded: Annotated[
        bool, typer.Option("--excluded/--no-excluded", help="Write the answers of excluded annotators too.")
    ] = False,
) -> None:
    """Export the answers, or the questions, to a file."""
    from textgym.feedback.projects import describe_left_out, open_project
    from textgym.feedback.store.exports import PROJECT_FORMS, ROWS, export_project

    if form not in PROJECT_FORMS:
        known = ", ".join(PROJECT_FORMS)
        raise ValueError(
            f"expected {argument('form')} to be one of {known}, got {form!r}.{suggested(form, PROJECT_FORMS)}"
        )
    folder = Path(file).parent
    is_new = not folder.exists()
    with open_project(project) as store:
        count = export_project(store, file, form, excluded=excluded)
        left_out = "" if excluded or form == "questions" else describe_left_out(store)
    console.say(f"{counted(count, ROWS.get(form, 'records'))} -> {file} ({form})")
    if is_new:
        console.remark(f"The folder {folder} did not exist, so it was made.")
    if left_out:
        console.remark(f"{left_out} --excluded writes them too.")


@feedback_app.command("import", cls=Command)
def import_command(
    project: _Project,
    file: _Source,
    overlap: Annotated[int, typer.Option("--overlap", help="Annotators per question.")] = 1,
) -> None:
    """Import answers, or questions (lines with prompt and responses)."""
    from textgym.feedback.projects import import_file

    found = import_file(project, file, overlap)
    for line in found.read:
        console.remark(line)
    console.say(f"{found.added} <- {file}")
    if found.lacks_checks:
        console.remark("Answers to attention checks were left out: import the questions, then this file again.")


@feedback_app.command(cls=Command)
def status(project: _Existing) -> None:
    """Show progress and inter-annotator agreement of a project."""
    from textgym.feedback.projects import open_project, project_status

    with open_project(project) as store:
        _show(project_status(store))


def _show(status: Status) -> None:
    from textgym.feedback.store.roster import shown_time

    console.say(
        f"{status.votes:,} of {status.wanted:,} votes; {status.complete:,} of {status.questions:,} questions complete"
    )
    rows = []
    for each in status.contributions:
        passed = f"{each.passed} of {each.checked}" if each.checked else "-"
        name = f"{each.annotator} (excluded)" if each.is_excluded else each.annotator
        rows.append([name, f"{each.votes:,}", passed, shown_time(each.last)])
    if rows:
        console.print_rows(["annotator", "votes", "checks passed", "last vote"], rows)
    if status.left_out:
        console.say(status.left_out)
    for kind, level, alpha, same in status.agreements:
        console.say(f"{kind}: Krippendorff's alpha {alpha:.3f} ({level}), same answer {console.with_bounds(same)}")
    if status.position_bias is not None:
        console.say(f"the text shown first wins {console.with_bounds(status.position_bias)}")
    if status.rank_position_bias is not None:
        console.say(f"the text shown first is ranked before another {console.with_bounds(status.rank_position_bias)}")
    if len(status.strengths) > 1:
        console.print_rows(
            ["generator", "Bradley-Terry strength"],
            [[name, console.with_bounds(strength)] for name, strength in status.strengths.items()],
        )
    for concern in status.concerns:
        console.warn(concern)


for command in (
    moderation.people, moderation.exclude, moderation.include, moderation.block, moderation.unblock, moderation.void,
):  # fmt: skip
    feedback_app.command()(command)
