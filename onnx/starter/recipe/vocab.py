"""The closed lists of the starter: rooms, device kinds, timer names, and how people say them.

`ROOMS` maps a room's canonical name (the value in a call) to (spoken names, prepositions that
may join it to a light). `vocabulary.json` and `tools.json` are written from these lists.
"""

ROOMS = {
    "kitchen": (["kitchen"], ["in the"]),
    "living room": (["living room"], ["in the"]),
    "bedroom": (["bedroom"], ["in the"]),
    "bathroom": (["bathroom"], ["in the"]),
    "hallway": (["hallway", "hall"], ["in the"]),
    "office": (["office"], ["in the"]),
    "garage": (["garage"], ["in the"]),
    "stove": (["stove"], ["over the", "above the", "by the"]),
    "desk": (["desk"], ["on the", "over the", "by the", "at the"]),
    "dining table": (["dining table"], ["over the", "above the", "at the", "on the"]),
    "dining room": (["dining room"], ["in the"]),
    "basement": (["basement"], ["in the"]),
    "attic": (["attic"], ["in the"]),
    "porch": (["porch"], ["on the"]),
    "garden": (["garden"], ["in the"]),
    "balcony": (["balcony"], ["on the"]),
    "patio": (["patio"], ["on the"]),
    "laundry room": (["laundry room"], ["in the"]),
    "guest room": (["guest room"], ["in the"]),
    "kids room": (["kids room", "children's room"], ["in the"]),
    "nursery": (["nursery"], ["in the"]),
    "closet": (["closet"], ["in the"]),
    "pantry": (["pantry"], ["in the"]),
    "stairs": (["stairs"], ["on the", "over the", "by the"]),
    "entrance": (["entrance"], ["at the", "by the", "in the"]),
    "front door": (["front door"], ["at the", "by the", "over the"]),
    "back door": (["back door"], ["at the", "by the", "over the"]),
    "driveway": (["driveway"], ["in the", "on the"]),
    "bed": (["bed"], ["by the", "over the", "next to the"]),
    "sofa": (["sofa", "couch"], ["by the", "next to the", "behind the"]),
    "sink": (["sink"], ["over the", "above the", "by the"]),
    "counter": (["counter"], ["over the", "on the", "above the"]),
    "library": (["library"], ["in the"]),
    "workshop": (["workshop"], ["in the"]),
    "gym": (["gym"], ["in the"]),
    "study": (["study"], ["in the"]),
    "terrace": (["terrace"], ["on the"]),
    "upstairs": (["upstairs"], [""]),
    "downstairs": (["downstairs"], [""]),
    "shed": (["shed"], ["in the"]),
}

LIGHTS = ["light", "lamp", "lights"]
SWITCHED = ["fan", "heater", "air conditioner", "tv", "radio", "plug", "coffee machine"]
MOVED = ["blinds", "curtains", "window", "garage door"]
KINDS = LIGHTS + SWITCHED + MOVED + ["door", "vacuum"]
# Known by what is done to it, never by name: `set_temperature` means the thermostat.
UNNAMED = ["thermostat"]
COLORS = ["red", "green", "blue", "white", "yellow", "orange", "purple", "pink", "turquoise",
          "warm white", "cold white"]
SCENES = ["movie", "relax", "reading", "party", "dinner", "away", "good morning", "good night"]
DAYS = ["today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

# The coffee machine's order.
DRINKS = ["coffee", "americano", "cappuccino", "espresso", "latte", "mocha", "iced mocha", "drip coffee",
          "house coffee", "iced coffee"]
SIZES = ["small", "medium", "large", "eight ounce", "twelve ounce", "sixteen ounce", "twenty ounce"]
ROASTS = ["light roast", "medium roast", "dark roast"]
SHOTS = ["single shot", "double shot", "triple shot"]
AMOUNTS = ["", "a little bit of ", "a bit of ", "some ", "a lot of ", "lots of "]
MILKS = ["milk", "skim milk", "whole milk", "soy milk", "almond milk", "cream"]
SUGARS = ["sugar", "brown sugar", "sweetener"]

TIMERS = {
    "pasta": ["pasta"], "egg": ["egg", "eggs"], "tea": ["tea"], "pizza": ["pizza"],
    "rice": ["rice"], "bread": ["bread"], "laundry": ["laundry"], "cake": ["cake"],
    "chicken": ["chicken"], "coffee": ["coffee"], "potato": ["potato", "potatoes"],
    "soup": ["soup"], "nap": ["nap"], "workout": ["workout"], "homework": ["homework"],
    "cookie": ["cookie", "cookies"], "steak": ["steak"], "oven": ["oven"],
    "dinner": ["dinner"], "fish": ["fish"], "break": ["break"], "dishes": ["dishes"],
    "bath": ["bath"], "meeting": ["meeting"],
}

# Words the tokenizer holds whole although no tool of this round uses them, so that a later
# round can grow the tool set and start from these weights.
LATER_TOOLS = [
    "set_color", "adjust_brightness", "open", "close", "set_position", "set_temperature",
    "adjust_temperature", "play", "pause", "next", "previous", "set_volume", "adjust_volume",
    "get_time", "get_date", "lock", "unlock", "start", "stop", "activate_scene", "set_alarm",
    "cancel_alarm", "snooze", "get_state", "orderDrink", "correct", "confirm", "deny", "repeat",
    "dock", "mute", "unmute", "resume",
]
LATER_KEYS = [
    "color", "step", "value", "direction", "temperature", "volume", "scene", "time", "date",
    "day", "hour", "minute", "state", "what", "size", "roast", "numberOfShots", "coffeeDrink",
    "milkAmount", "sugarAmount", "amount", "position", "period", "weekday", "degrees", "count",
]
LATER_VALUES = [
    "fan", "blinds", "curtains", "thermostat", "heating", "music", "tv", "speaker", "door",
    "garage door", "vacuum", "plug", "heater", "coffee machine", "alarm", "window", "oven light",
    "air conditioner", "radio", "scene", "all", "house", "up", "down", "more", "less", "on", "off",
    "warmer", "cooler", "brighter", "dimmer", "louder", "quieter", "am", "pm", "today", "tomorrow",
    "red", "green", "blue", "white", "yellow", "orange", "purple", "pink", "warm white",
    "cold white", "turquoise", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
    "sunday", "morning", "evening", "night", "movie", "relax", "reading", "party", "away",
    "good morning", "good night", "small", "medium", "large", "eight ounce", "twelve ounce",
    "sixteen ounce", "twenty ounce", "light roast", "medium roast", "dark roast", "single shot",
    "double shot", "triple shot", "americano", "cappuccino", "espresso", "latte", "mocha",
    "iced mocha", "drip coffee", "house coffee", "iced coffee", "a little bit of", "a bit of",
    "some", "a lot of", "lots of", "milk", "skim milk", "whole milk", "soy milk", "almond milk",
    "cream", "sugar", "brown sugar", "sweetener",
]

# Whole words added with the second set of tools.
SECOND = ["change_brightness", "change_temperature", "change_volume", "media", "set_scene", "get_temperature",
          "action"]

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n):
    """`n` (0..100) in English words."""
    if n < 20:
        return ONES[n]
    if n == 100:
        return "a hundred"
    return TENS[n // 10] + ("" if n % 10 == 0 else " " + ONES[n % 10])
