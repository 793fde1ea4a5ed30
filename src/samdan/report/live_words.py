"""The words of the live page, of two runs beside each other, and of the first screen."""

from __future__ import annotations

from collections.abc import Mapping

from samdan.report.numbers import Both

LIVE: Mapping[str, Both] = {
    # while it runs
    "watch.now": ("Now:", "지금:"),
    "watch.step": ("step {step} of {of}", "{of}스텝 중 {step}스텝"),
    "watch.progress": ("Progress of the stage", "단계 진행률"),
    "watch.left": ("Left in this stage", "이 단계의 남은 시간"),
    "watch.memory": ("Memory", "메모리"),
    "watch.rules": ("How near the rules are", "감시 규칙과 기준까지의 거리"),
    "watch.rules.how": (
        "0% is calm; at 100% a rule fires and the stage is changed or stopped.",
        "0%는 안정, 100%가 되면 규칙이 감지되어 단계를 바꾸거나 멈춥니다.",
    ),
    "watch.early": ("too early to judge", "아직 판단하기 이름"),
    "watch.lost": (
        "No connection to samdan watch. The run itself does not depend on it.",
        "samdan watch에 연결할 수 없습니다. 실행 자체에는 영향이 없습니다.",
    ),
    "watch.by": (
        "This page keeps itself up to date. The report is report.html in the run directory.",
        "이 페이지는 스스로 갱신됩니다. 보고서는 실행 디렉터리의 report.html입니다.",
    ),
    # two runs
    "compare": ("Two runs beside each other", "두 실행 비교"),
    "compare.recipe": ("What the recipes differ in", "레시피에서 다른 것"),
    "compare.fields": (
        "Fields in which the recipes differ: {n}",
        "레시피에서 다른 항목: {n}개",
    ),
    "compare.fields.none": ("The recipes are the same.", "레시피가 같습니다."),
    "compare.unread": (
        "The recipe of run {runs} cannot be read, so fields are not compared.",
        "실행 {runs}의 레시피를 읽을 수 없어 항목을 비교하지 못했습니다.",
    ),
    "compare.costs": ("What each cost", "각각의 비용"),
    "compare.what": ("What", "항목"),
    "compare.metrics": ("Metrics: {a} of A, {b} of B", "지표: A의 {a}, B의 {b}"),
    "compare.change": ("Change from A to B", "A에서 B로의 변화"),
    "compare.how": (
        "Brackets are 95% intervals of the difference, put together of those of both values as if "
        "they were independent: rather too wide than too narrow.",
        "대괄호는 차이의 95% 구간입니다. 두 값의 구간을 서로 독립인 것처럼 합쳤으므로 실제보다 "
        "넓은 편입니다.",
    ),
    "compare.only": ("{metric} was measured in {run} only", "{metric}: {run}에서만 측정"),
    "compare.items": (
        "not measured on as many items in both: {metrics}",
        "두 실행에서 문항 수가 다른 지표: {metrics}",
    ),
    "compare.unmeasured": (
        "The runs have no measured stage in common to be compared by.",
        "두 실행을 견줄 측정 결과가 없습니다.",
    ),
    "compare.better": ("B is better than A", "B가 A보다 낫습니다"),
    "compare.worse": ("B is worse than A", "B가 A보다 못합니다"),
    "compare.mixed": (
        "B is better in some things, worse in others",
        "B가 나은 점도 못한 점도 있습니다",
    ),
    "compare.same": ("No clear difference", "뚜렷한 차이가 없습니다"),
    "compare.counts": (
        "Of {all} metrics {better} are clearly better in B and {worse} clearly worse.",
        "지표 {all}개 중 B에서 뚜렷하게 나은 것 {better}개, 못한 것 {worse}개.",
    ),
    # the first screen: three questions
    "ask.worked": ("Did it work?", "성공했습니까?"),
    "ask.cost": ("What did it cost?", "비용은 얼마입니까?"),
    "ask.ship": ("Can I ship it?", "배포해도 됩니까?"),
    "worked.yes": ("Yes", "예"),
    "worked.partly": ("Partly", "일부"),
    "worked.no": ("No", "아니요"),
    "worked.open": ("Not known yet", "아직 모릅니다"),
    "worked.from.base": (
        "{better} of {all} metrics clearly better than the base, {worse} clearly worse.",
        "지표 {all}개 중 기본 모델보다 뚜렷하게 나아진 것 {better}개, 나빠진 것 {worse}개.",
    ),
    "worked.unmeasured": (
        "Nothing was measured against the base.",
        "기본 모델과 비교한 지표가 없습니다.",
    ),
    "worked.stages": ("{done} of {all} stages done", "{all}단계 중 {done}단계 완료"),
    "cost.tokens": ("{n} tokens trained on", "학습 토큰 {n}"),
    "cost.rate": ("{n} tokens/s", "초당 {n} 토큰"),
    "cost.devices": ("{n} × {device}", "{device} {n}개"),
    "cost.cpu": ("CPU with {n} cores", "CPU 코어 {n}개"),
    "cost.gpu.hours": ("{n} GPU hours", "{n} GPU 시간"),
    "cost.training": ("training {n}", "학습 {n}"),
    "cost.rest": ("the rest {n}", "나머지 {n}"),
    "cost.retries": ("attempts beyond the first: {n}", "추가 시도 {n}회"),
    "ship.gates": (
        "Gates passed: {passed} of {all}.",
        "게이트 {all}개 중 {passed}개를 통과했습니다.",
    ),
    "ship.model": ("The model: {path}", "모델: {path}"),
    # examples
    "samples.how": (
        "Every model's answer to the same question. A mark is what the task says of it.",
        "같은 질문에 대한 모델별 답변입니다. 표시는 과제의 채점 결과입니다.",
    ),
    "samples.search": ("Search in questions and answers", "질문과 답변에서 찾기"),
    "samples.which": ("Show", "보기"),
    "samples.all": ("all", "전체"),
    "samples.gained": ("wrong before, right now", "틀렸다가 맞힌 것"),
    "samples.lost": ("right before, wrong now", "맞혔다가 틀린 것"),
    "samples.found": ("shown: {n}", "표시: {n}개"),
    "expected": ("expected", "정답"),
    "right": ("right", "맞음"),
    "wrong": ("wrong", "틀림"),
    # the chain of what was made of what
    "chain": ("From recipe to model", "레시피에서 모델까지"),
    "chain.recipe": ("Recipe", "레시피"),
    "chain.data": ("Data of {stage}", "{stage} 데이터"),
    "chain.model": ("Model of {stage}", "{stage} 모델"),
    "chain.base": ("Base model", "기본 모델"),
    "chain.how": (
        "SHA-256 of the recipe, and of what each step made, in order. The same hashes mean the "
        "same model; every step and what it read follow below.",
        "레시피와 각 작업 산출물의 SHA-256을 순서대로 적었습니다. 해시가 같으면 모델도 같습니다. "
        "모든 작업과 그 입력은 아래에 있습니다.",
    ),
}
