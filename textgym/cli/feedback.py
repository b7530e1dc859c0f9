"""The commands ``textgym feedback ...``. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from textgym.cli import options as options
from textgym.feedback.types import Mode
from textgym.types import Split

feedback_app = typer.Typer(
    help="Questions about texts, and the people who answer them.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_Project = Annotated[str, typer.Argument(metavar="PROJECT.db", help="The project; made if there is none.")]
_Existing = Annotated[str, typer.Argument(metavar="PROJECT.db", help="The project.")]
_Source = Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; unpacked if the name ends in .gz.")]
_Target = Annotated[str, typer.Argument(metavar="FILE", help="Overwritten, as --form says.")]


@feedback_app.command()
def serve(
    project: _Project,
    host: Annotated[
        str, typer.Option("--host", help="Address; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8765,
    name: Annotated[str | None, typer.Option("--name", help="Whom your answers are from.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="Shown on every page.")] = None,
    guidelines: Annotated[str | None, typer.Option("--guidelines", help="File that says how to answer.")] = None,
    blind: Annotated[
        bool | None, typer.Option("--blind/--no-blind", help="Never tell who wrote a text, or do after the answer.")
    ] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Ask for token or account on this machine too.")] = False,
    allow_host: Annotated[list[str] | None, typer.Option("--allow-host", help="Another name of this server.")] = None,
    https: Annotated[
        bool, typer.Option("--https", help="A proxy of this machine, called by --allow-host, speaks HTTPS for it.")
    ] = False,
) -> None:
    """Serve the page on which people answer."""
    from textgym.rlhf.feedback import ServeSettings, run_serve

    run_serve(
        ServeSettings(
            project,
            host,
            port,
            name=name,
            title=title,
            guidelines=guidelines,
            blind=blind,
            closed=closed,
            allow_hosts=tuple(allow_host or ()),
            https=https,
        )
    )


@feedback_app.command()
def sample(
    project: _Project,
    env_id: options.EnvId = "TextSumm-v0",
    data: options.Data = None,
    prompt_column: options.PromptColumn = None,
    reference_column: options.ReferenceColumn = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Who writes; several times for several models. Default: tiny.")
    ] = None,
    references: Annotated[bool, typer.Option("--references", help="Let the references take part as well.")] = False,
    mode: Annotated[str, typer.Option("--mode", help="compare, rank, rate, edit or natural.")] = "compare",
    prompts: Annotated[int, typer.Option("--prompts", help="How many questions.")] = 100,
    responses: Annotated[
        int | None, typer.Option("--responses", help="Texts per question; 2 to compare, 4 to rank.")
    ] = None,
    criterion: Annotated[
        list[str] | None, typer.Option("--criterion", help="What else ratings grade; several times.")
    ] = None,
    overlap: Annotated[int, typer.Option("--overlap", help="People per question.")] = 1,
    checks: Annotated[int, typer.Option("--checks", help="Attention checks to mix in.")] = 0,
    split: options.Split = "train",
    temperature: options.Temperature = 1.0,
    max_prompt_tokens: options.MaxPromptTokens = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Fill a project with questions about texts of one or several models."""
    from textgym.cli.quiet import quiet_libraries
    from textgym.envs.choice import EnvChoice
    from textgym.rlhf.questions import SampleSettings, run_sample

    quiet_libraries()
    run_sample(
        SampleSettings(
            EnvChoice(env_id, data, prompt_column, reference_column),
            project,
            models=tuple(model or ("tiny",)),
            references=references,
            mode=cast(Mode, mode),
            prompts=prompts,
            responses=responses,
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
    )


@feedback_app.command()
def simulate(
    project: _Existing,
    annotators: Annotated[int, typer.Option("--annotators", help="How many.")] = 3,
    by: Annotated[
        str | None, typer.Option("--by", help="What they care about: gold, rouge, length, or a reward.")
    ] = None,
    votes: Annotated[int | None, typer.Option("--votes", help="Answers of each; by default all there are.")] = None,
    noise: Annotated[float, typer.Option("--noise", help="Score difference that is seen 73 % of the time.")] = 0.1,
    spammers: Annotated[float, typer.Option("--spammers", help="Share who answer without reading.")] = 0.0,
    position_bias: Annotated[float, typer.Option("--position-bias", help="Added to what is shown first.")] = 0.0,
    length_bias: Annotated[float, typer.Option("--length-bias", help="Added per doubling of the words.")] = 0.0,
    seed: options.Seed = 0,
) -> None:
    """Let simulated people answer."""
    from textgym.cli.quiet import quiet_libraries
    from textgym.rlhf.questions import SimulateSettings, run_simulate

    quiet_libraries()
    run_simulate(SimulateSettings(project, annotators, by, votes, noise, spammers, position_bias, length_bias, seed))


@feedback_app.command("export")
def export_command(
    project: _Existing,
    file: _Target,
    form: Annotated[
        str, typer.Option("--form", help="votes, questions, records, preferences, labels or csv.")
    ] = "votes",
) -> None:
    """Write the answers, or the questions, to a file."""
    from textgym.rlhf.feedback import run_export

    run_export(project, file, form)


@feedback_app.command("import")
def import_command(
    project: _Project,
    file: _Source,
    overlap: Annotated[int, typer.Option("--overlap", help="People per question.")] = 1,
) -> None:
    """Read answers, or questions: lines with prompt and responses."""
    from textgym.rlhf.feedback import run_import

    run_import(project, file, overlap)


@feedback_app.command()
def status(project: _Existing) -> None:
    """Say how far a project is, and how far people agree."""
    from textgym.rlhf.feedback import run_status

    run_status(project)
