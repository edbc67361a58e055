"""Sentence patterns of the whole home: everything but switching and dimming lights, and timers.

One line a pattern: `tool key=value ...: words`. Alternatives stand in brackets, slots in braces; a
leading `!` holds a pattern out of training. A slot gives its words and may put arguments into the
call. `sentences.py` draws from here; the coffee order and its any-order phrases are `coffee()`.
"""

import re

from vocab import (AMOUNTS, COLORS, DAYS, DRINKS, MILKS, MOVED, ROASTS, ROOMS, SCENES, SHOTS, SIZES, SUGARS,
                   SWITCHED, words)

THING = """
turn_on: (turn|switch) on {thing}
turn_on: (turn|switch) {thing} on
turn_on: (start|put on|activate) {thing}
turn_on: {thing} on
turn_on: i need {thing} on
turn_on: power on {thing}
!turn_on: i want {thing} (running|on)
turn_off: (turn|switch|shut) off {thing}
turn_off: (turn|switch|shut) {thing} off
turn_off: {thing} off
turn_off: kill {thing}
turn_off: (i don't need|we don't need) {thing} (anymore|any more)
turn_off: power off {thing}
!turn_off: get {thing} off
turn_on kind=tv: (i want to|let's) watch (tv|television) {in}
turn_on kind=coffee machine: (warm up|heat up|get) the coffee machine (ready|)
turn_on kind=heater: (turn|put|switch) the heating on {in}
turn_off kind=heater: (turn|switch) off the heating {in}
turn_off kind=heater: (turn|switch) the heating off {in}
turn_on: make {thing} (run|go|work)
turn_on: could we have {thing} on
turn_on: let {thing} run
turn_on: i'd like {thing} (on|running)
turn_on: bring {thing} on
turn_on: fire up {thing}
turn_off: make {thing} stop
turn_off: i want {thing} off
turn_off: put {thing} off
turn_off: {thing} can go off
turn_off: stop {thing}
turn_off: get rid of the noise turn off {thing}
"""
STEP = """
change_brightness direction=up: make {light} (a bit|a little|a little bit|) brighter
change_brightness direction=down: make {light} (a bit|a little|a little bit|) (darker|dimmer)
change_brightness direction=up: brighten {light} (a bit|a little|)
change_brightness direction=down: dim {light} (a bit|a little|)
change_brightness direction=up: turn {light} up (a bit|a little|)
change_brightness direction=down: turn {light} down (a bit|a little|)
change_brightness direction=up: turn up {light} (a bit|a little|)
change_brightness direction=down: turn down {light} (a bit|a little|)
change_brightness direction=up: {light} (a bit|a little|) brighter
change_brightness direction=down: {light} (a bit|a little|) (darker|dimmer)
change_brightness direction=up kind=lights: (a bit|a little|) brighter {in}
change_brightness direction=down kind=lights: (a bit|a little|) (darker|dimmer) {in}
change_brightness direction=down kind=lights: it's too bright {in}
change_brightness direction=down: lower {light} (a bit|a little)
change_brightness direction=up: raise {light} (a bit|a little)
!change_brightness direction=up: i want {light} (a bit|a little) brighter
!change_brightness direction=down: can {light} be (a bit|a little) darker
change_brightness direction=up: (a bit|a little) more light {in1}
change_brightness direction=down: (a bit|a little) less light {in1}
change_brightness direction=up: could {light} be brighter
change_brightness direction=down: {light} (is|are) too bright
change_brightness direction=up: i'd like {light} brighter
change_brightness direction=down: i'd like {light} darker
"""
COLOR = """
set_color: (turn|make|set|color) {light} {color}
set_color: (set|change|turn|switch) {light} to {color}
set_color: {light} {color}
set_color: change the color of {light} to {color}
set_color: set the color of {light} to {color}
set_color: i want {light} in {color}
set_color kind=lights: (make it|make everything) {color} {in}
set_color kind=lights: {color} light {in}
set_color: give {light} a {color} color
!set_color: let {light} (shine|glow) {color}
!set_color: put {light} (in|on) {color}
set_color: i'd like {light} (to be|in) {color}
set_color: {light} should be {color}
set_color: have {light} (turn|go) {color}
set_color: can {light} be {color}
set_color: {color} for {light}
set_color: use {color} for {light}
set_color: {light} (to|in|into) {color} please
set_color: make {light} (look|shine) {color}
set_color: (change|switch|turn) {light} {color}
set_color: paint {light} {color}
set_color: i need {light} (in|to be) {color}
set_color kind=lights: i want {color} light {in}
set_color kind=lights: (everything|all) {color} {in}
set_color kind=lights: (make|turn|set) the room {color}
set_color: turn the color of {light} to {color}
set_color: show {light} in {color}
set_color: bring {light} to {color}
set_color: get {light} (in|to) {color}
"""
MOVE = """
open: open {moved}
open: open up {moved}
open: (raise|pull up) {cover}
open: {moved} (up|open)
open: put {cover} up
open: i want {moved} open
open: open {moved} all the way
!open: get {moved} open
close: (close|shut) {moved}
close: (lower|pull down|draw) {cover}
close: put {cover} down
close: {moved} (closed|down|shut)
close: i want {moved} closed
close: close {moved} all the way
!close: get {moved} closed
open kind=garage door: (open|open up) the garage
close kind=garage door: (close|shut) the garage
open kind=blinds: blinds up {in}
close kind=blinds: blinds down {in}
set_position: (set|open|close|move|lower|raise) {moved} to {pct}
set_position: (set|put) {moved} at {pct}
set_position: open {moved} {pct}
set_position: {moved} (to|at) {pct}
set_position percent=50: open {moved} (halfway|half way)
set_position percent=50: {moved} (halfway|half open)
!set_position: bring {moved} to {pct}
open: make {moved} open
open: have {moved} opened
open: could you get {moved} (up|opened)
open: let some air in open {moved}
open: let the light in open {moved}
open: i need {moved} open
close: make {moved} close
close: have {moved} closed
close: could you get {moved} (down|shut)
close: i'd like {moved} (closed|shut)
close: it's cold close {moved}
close: i need {moved} closed
set_position: i want {moved} at {pct}
set_position: get {moved} to {pct}
set_position: {moved} should be at {pct}
"""
LOCK = """
lock: lock the (door|front door|house)
lock: lock up
lock: (please lock|lock) the door for the night
lock: make sure the (front door|door) is locked
lock: front door lock
!lock: i want the (front door|door) locked
unlock: unlock the (door|front door|house)
unlock: (let|please let) (me|him|her|them) in
unlock: open the lock (on|of) the front door
unlock: front door unlock
!unlock: i want the (front door|door) unlocked
lock: could you lock the (front door|door)
lock: is the door open lock it
lock: the (front door|door) should be locked
lock: keep the front door locked
unlock: could you unlock the (front door|door)
unlock: the (front door|door) should be unlocked
unlock: somebody is at the door let them in
"""
CLIMATE = """
set_temperature: set the (temperature|thermostat|heating|heat) to {deg} {in}
set_temperature: (turn|put) the (thermostat|heating|heat|temperature) (to|up to|down to|on) {deg} {in}
set_temperature: set the {room} to {degs}
set_temperature: heat the {room} to {deg}
set_temperature: make it {degs} {in}
set_temperature: (thermostat|temperature) (to|at|) {deg} {in}
set_temperature: {degs} {in2}
set_temperature: set the {room} (temperature|thermostat) to {deg}
set_temperature: i want (it to be|) {degs} {in}
set_temperature: change the (temperature|thermostat) to {deg} {in}
!set_temperature: bring the (temperature|thermostat) to {deg} {in}
!set_temperature: keep (it at|the temperature at) {deg} {in}
change_temperature direction=warmer: make it (a bit|a little|) warmer {in}
change_temperature direction=cooler: make it (a bit|a little|) (cooler|colder) {in}
change_temperature direction=warmer: it's too cold {inhere}
change_temperature direction=cooler: it's too (warm|hot) {inhere}
change_temperature direction=warmer: i'm (cold|freezing)
change_temperature direction=cooler: i'm (too hot|too warm)
change_temperature direction=warmer: turn (up the heat|up the heating|the heat up|the heating up|up the temperature|the temperature up) {in}
change_temperature direction=cooler: turn (down the heat|down the heating|the heat down|the heating down|down the temperature|the temperature down) {in}
change_temperature direction=warmer: (a bit|a little|) warmer {in}
change_temperature direction=cooler: (a bit|a little|) cooler {in}
change_temperature direction=warmer: (warm up|heat up) the {room}
change_temperature direction=cooler: cool down the {room}
change_temperature direction=warmer: raise the temperature {in}
change_temperature direction=cooler: lower the temperature {in}
!change_temperature direction=warmer: i want it warmer {in}
!change_temperature direction=cooler: i want it cooler {in}
get_temperature: how (warm|hot|cold) is it {inhere}
get_temperature: how (warm|hot|cold) is the {room}
get_temperature: what's the temperature {inhere}
get_temperature: what is the temperature {inhere}
get_temperature: what temperature is it {inhere}
get_temperature: tell me the temperature {in}
get_temperature: temperature {in2}
get_temperature: what's the {room} temperature
!get_temperature: how many degrees is it {inhere}
set_temperature: i'd like {degs} {in}
set_temperature: it should be {degs} {in}
set_temperature: get it to {degs} {in}
set_temperature: hold it at {degs} {in}
set_temperature: i want the {room} at {degs}
set_temperature: (adjust|move) the (temperature|thermostat) to {deg}
change_temperature direction=warmer: i'd like it (a bit|a little|) warmer {in}
change_temperature direction=cooler: i'd like it (a bit|a little|) cooler {in}
change_temperature direction=warmer: could it be warmer {in}
change_temperature direction=cooler: could it be cooler {in}
change_temperature direction=warmer: it's (cold|freezing) {inhere}
change_temperature direction=cooler: it's (hot|boiling) {inhere}
change_temperature direction=warmer: more heat {in}
change_temperature direction=cooler: less heat {in}
get_temperature: is it (warm|hot|cold) {in2}
get_temperature: how warm did it get {in2}
get_temperature: check the temperature {in}
get_temperature: (read|give me) the temperature {in}
get_temperature: what does the thermostat say {in}
get_temperature: what is it {in2} how many degrees
"""
MEDIA = """
media action=play: play (some|the|) music {in}
media action=play: (play|resume|continue) the (music|song|radio station|playlist)
media action=play: (put on|turn on|start) (some|the) music {in}
media action=play: (play|resume|unpause|press play)
media action=play: music (please|on)
media action=play: keep playing
!media action=play: let's hear some music {in}
media action=pause: pause (the|) (music|song|)
media action=pause: (stop|turn off|shut off) the music {in}
media action=pause: (pause|hold) (it|that|playback)
media action=pause: music off
media action=pause: stop playing
!media action=pause: no more music
media action=next: (next|skip) (song|track|)
media action=next: (play|go to) the next (song|track|one)
media action=next: skip (this|this song|this track|it|this one)
media action=next: next one
!media action=next: i don't like this song
media action=previous: (previous|last) (song|track)
media action=previous: (play|go to|go back to) the (previous|last) (song|track|one)
media action=previous: go back (one|a) (song|track)
!media action=previous: play that (song|one) again
change_volume direction=louder: (a bit|a little|) louder
change_volume direction=quieter: (a bit|a little|) (quieter|softer)
change_volume direction=louder: (turn|put) (it|the volume|the music|the sound) up (a bit|)
change_volume direction=quieter: (turn|put) (it|the volume|the music|the sound) down (a bit|)
change_volume direction=louder: turn up the (volume|music|sound)
change_volume direction=quieter: turn down the (volume|music|sound)
change_volume direction=louder: volume up
change_volume direction=quieter: volume down
change_volume direction=louder: (speak up|speak louder|i can't hear you)
change_volume direction=quieter: (not so loud|that's too loud|you're too loud)
change_volume direction=louder: make it louder
change_volume direction=quieter: make it quieter
change_volume direction=louder: increase the volume
change_volume direction=quieter: (decrease|lower) the volume
!change_volume direction=louder: i want it louder
!change_volume direction=quieter: i want it quieter
set_volume: (set|turn|put|change) the volume (to|at) {pct}
set_volume: turn the volume (up|down) to {pct}
set_volume: volume (to|at|) {pct}
set_volume: (set|change) your volume to {pct}
set_volume: (speak|play) at {pct} volume
!set_volume: bring the volume to {pct}
media action=play: i want (some|to hear some|to hear) music {in}
media action=play: can we have some music {in}
media action=play: start playing
media action=play: go on playing
media action=pause: i want the music off
media action=pause: shut the music off
media action=pause: quiet that music
media action=pause: turn that off stop the music
media action=pause: hold the music
media action=next: i want the next song
media action=next: another song
media action=next: play something else
media action=next: this song is bad skip it
media action=next: forward
media action=previous: the song before
media action=previous: back to the last song
media action=previous: again the last song
media action=previous: i want the song before that
media action=previous: play the one before again
change_volume direction=louder: i'd like it louder
change_volume direction=quieter: i'd like it quieter
change_volume direction=louder: more volume
change_volume direction=quieter: less volume
change_volume direction=louder: raise the volume
change_volume direction=louder: could you be louder
change_volume direction=quieter: could you be quieter
change_volume direction=quieter: it's too loud
change_volume direction=louder: it's too quiet
set_volume: i want the volume at {pct}
set_volume: get the volume to {pct}
set_volume: make the volume {pct}
set_volume: the volume should be {pct}
media action=play: (play|put on|start) (something|a song|some songs|my songs|my playlist|the radio station) {in}
media action=play: let me hear (some|the|) (music|songs) {in}
media action=play: let's (have|play|listen to) (some|) music {in}
media action=play: (i'd like|we want|we need) (some|) music {in}
media action=play: music {in2}
media action=play: (continue|resume) (playing|the playback|) {in}
media action=pause: (pause|stop|halt) (the song|the music|playback|playing)
media action=pause: (end|cut|kill) the music {in}
media action=pause: (can you|could you) (pause|stop) the (music|song)
media action=pause: i don't want (any|the|) music (anymore|any more|now|)
media action=pause: (no|stop the) music please
media action=pause: the music can (stop|wait)
media action=next: (skip ahead|skip forward|go forward|next please|go on to the next song)
media action=next: (give me|let's hear|i'd like) (another|the next|a different) (song|track|one)
media action=next: (not this|i hate this|enough of this) song
media action=next: (change|switch) the (song|track)
media action=previous: (go|skip|jump) back (a song|one song|to the song before|)
media action=previous: (repeat|replay) the (last|previous) (song|track)
media action=previous: (what was|i liked) the last song play it again
media action=previous: play (it|the song|the track) again
change_volume direction=louder: (crank|pump) it up
change_volume direction=louder: (louder|much louder) please
change_volume direction=quieter: (quieter|softer|lower) please
change_volume direction=quieter: (keep|tone) it down
change_volume direction=louder: we need it louder
change_volume direction=quieter: we need it quieter
"""
CLOCK = """
get_time: what time is it (now|right now|)
get_time: (what's|what is|tell me|give me) the time
get_time: do you (know|have) (what time it is|the time)
get_time: (what is|what's) the (current|exact) time
get_time: time please
!get_time: how late is it
get_date: what day is it (today|)
get_date: (what's|what is|tell me) (the|today's) date
get_date: (what's|what is) the date today
get_date: (what|which) day is today
get_date: (what day of the week|what day of the month) is it
!get_date: what's today
vacuum action=start: (start|run|turn on) the (vacuum|vacuum cleaner|robot vacuum)
vacuum action=start: (vacuum|clean) the (floor|floors|house|apartment)
vacuum action=start: (start|begin) (vacuuming|cleaning)
vacuum action=start: send the vacuum out
!vacuum action=start: let the vacuum (clean|run)
vacuum action=stop: (stop|pause|turn off|halt) the (vacuum|vacuum cleaner|robot vacuum)
vacuum action=stop: stop (vacuuming|cleaning)
!vacuum action=stop: make the vacuum stop
vacuum action=dock: (dock|park) the (vacuum|vacuum cleaner|robot vacuum)
vacuum action=dock: send the (vacuum|robot vacuum) (home|back|to its dock|back to its base)
vacuum action=dock: vacuum go home
!vacuum action=dock: bring the vacuum (home|back)
set_scene: (set|start|activate|turn on|run) the {scene} scene
set_scene: (set|start|activate|turn on|enable) {scene} mode
set_scene: {scene} (scene|mode)
set_scene: switch to {scene} mode
set_scene: (switch|change) to the {scene} scene
set_scene: set the scene to {scene}
!set_scene: i want the {scene} scene
get_time: is it late
get_time: (check|read) the (time|clock)
get_time: what does the clock say
get_time: what hour is it
get_time: i need the time
get_time: can you say the time
get_date: (check|read) the date
get_date: what is today's date
get_date: is it monday today
get_date: what month is it
get_date: i need the date
vacuum action=start: get the vacuum (going|started)
vacuum action=start: the floor is dirty clean it
vacuum action=start: make the vacuum (start|clean|go)
vacuum action=start: i want the vacuum to (clean|run|start)
vacuum action=start: have the vacuum (clean|start)
vacuum action=stop: i want the vacuum to stop
vacuum action=stop: vacuum stop
vacuum action=stop: have the vacuum stop
vacuum action=stop: the vacuum should (stop|wait)
vacuum action=dock: get the vacuum (home|back)
vacuum action=dock: the vacuum should go (home|back)
vacuum action=dock: let the vacuum go home
vacuum action=dock: charge the vacuum
vacuum action=dock: vacuum (home|dock|back)
set_scene: i'd like {scene} mode
set_scene: make it {scene} mode
set_scene: time for the {scene} scene
set_scene: go to {scene} mode
set_scene: put on the {scene} scene
get_time: (what|which) time (do we have|have we got)
get_time: (how|what) (is|about) the time
get_time: time
get_time: the time please
get_time: is it (noon|midnight|eight|ten) already
get_time: (say|show|read) (me |) the time
get_time: (please tell|tell) me what time it is
get_time: how (early|far into the day) is it
get_date: (what|which) date is (it|today)
get_date: (tell me|say|read) today's date
get_date: (date|the date|today's date) please
get_date: (what|which) (weekday|month|year) is it
get_date: (please tell|tell) me (the date|what day it is)
get_date: what are we today
get_date: today is (what|which) day
vacuum action=start: (start|launch|activate|switch on) the (vacuum|robot|vacuum cleaner)
vacuum action=start: (vacuum|clean) (now|please|everything|the rooms)
vacuum action=start: (time to|please) (vacuum|clean the floor)
vacuum action=start: (tell|ask) the vacuum to (start|clean)
vacuum action=start: the vacuum (can|should|may) (start|clean|run)
vacuum action=stop: (switch off|end|shut off) the (vacuum|robot|vacuum cleaner)
vacuum action=stop: (tell|ask) the vacuum to stop
vacuum action=stop: no more (vacuuming|cleaning)
vacuum action=stop: the vacuum (is too loud stop it|can stop)
vacuum action=dock: (tell|ask) the vacuum to go (home|back)
vacuum action=dock: (return|bring back) the (vacuum|robot vacuum)
vacuum action=dock: put the vacuum (back|away|on its dock)
vacuum action=dock: vacuum (go back|back to the dock|go to your base)
set_scene: (give me|let's have|load|choose|use) the {scene} scene
set_scene: {scene} lighting
set_scene: (start|go into|turn on) {scene} (mode|scene) (now|)
set_scene: we want the {scene} (scene|mode)
"""
ALARM = """
set_alarm: set (an|my|the) alarm for {clock} {day}
set_alarm: set (an|my|the) alarm {dayfirst} for {clock}
set_alarm: wake me (up|) at {clock} {day}
set_alarm: wake me (up|) {dayfirst} at {clock}
set_alarm: alarm (at|for) {clock} {day}
set_alarm: (make|create|add) an alarm for {clock} {day}
set_alarm: i (have|need|want) to get up at {clock} {day}
set_alarm: {clock} alarm
!set_alarm: i need an alarm (at|for) {clock} {day}
!set_alarm: get me up at {clock} {day}
cancel_alarm: (cancel|delete|remove|clear) (the|my) alarm
cancel_alarm: (turn|switch) off (the|my) alarm
cancel_alarm: (turn|switch) (the|my) alarm off
cancel_alarm: i don't need (the|my|an) alarm (anymore|any more|tomorrow)
cancel_alarm: no alarm tomorrow
!cancel_alarm: get rid of (the|my) alarm
snooze: snooze (the alarm|)
snooze: let me sleep (a little longer|a bit longer|some more)
snooze: hit snooze
snooze: snooze (for|) {mins}
snooze: {more} more minutes
snooze: (give me|i need) {more} more minutes
snooze: wake me again in {mins}
!snooze: remind me again in {mins}
stop: (stop|silence|mute|quiet) the (alarm|ringing|noise|timer sound)
stop: stop ringing
set_alarm: i'd like an alarm for {clock} {day}
set_alarm: could you wake me at {clock} {day}
set_alarm: get me out of bed at {clock} {day}
set_alarm: i want to wake up at {clock} {day}
set_alarm: put the alarm on {clock} {day}
set_alarm: give me an alarm at {clock} {day}
set_alarm: my alarm should go off at {clock} {day}
cancel_alarm: stop waking me
cancel_alarm: drop the alarm
cancel_alarm: (forget|kill|disable) (the|my) alarm
cancel_alarm: don't wake me (up|) (tomorrow|)
cancel_alarm: i want no alarm
snooze: not yet {more} more minutes
snooze: i want to sleep {more} more minutes
snooze: ring again in {mins}
snooze: come back in {mins}
snooze: i'm still tired let me sleep
set_alarm: (please|can you) wake (me|us) (up|) at {clock} {day}
set_alarm: (new|another) alarm (at|for) {clock} {day}
set_alarm: set (an|the|my) alarm {clock} {day}
set_alarm: i (must|should) (be up|wake up|get up) at {clock} {day}
set_alarm: alarm {dayfirst} (at|for) {clock}
set_alarm: wake up at {clock} {day}
set_alarm: {dayfirst} wake me at {clock}
set_alarm: let the alarm ring at {clock} {day}
set_alarm: we need an alarm for {clock} {day}
cancel_alarm: (cancel|delete|remove|end) (every alarm|all alarms|tomorrow's alarm|that alarm)
cancel_alarm: (the|my) alarm (is not needed|can go)
cancel_alarm: clear that alarm
snooze: (snooze|sleep) a (little|bit) (longer|more)
snooze: (another|just) {more} minutes
snooze: (wake|call) me (again |) in {mins}
"""
STATE = """
get_state: is {asked} (on|off|running)
get_state: is {asked} (on|off|running) (now|right now)
get_state kind=lights: are the lights (on|off) {in}
get_state: is {askmoved} (open|closed|up|down)
get_state: (did i leave|did we leave|have i left) {asked} on
get_state: (did i leave|did we leave) {askmoved} open
get_state kind=garage door: is the garage (open|closed)
get_state kind=garage door: did i (close|leave open) the garage
get_state kind=door room=front door: is the (front door|door) (locked|unlocked|open|closed)
get_state kind=door room=front door: did i lock the (front door|door)
get_state kind=door room=back door: is the back door (locked|open|closed)
get_state kind=vacuum: is the vacuum (running|on|cleaning|done)
get_state kind=vacuum: what is the vacuum doing
get_state: what's the state of {asked}
get_state: (tell me|check) if {asked} is (on|off)
get_state: (tell me|check) if {askmoved} is (open|closed)
get_state: (check|check on) {askmoved}
!get_state: (do you know|can you see) if {asked} is (on|off)
!get_state: (do you know|can you see) if {askmoved} is (open|closed)
get_state: (does|is) {asked} still on
get_state: did somebody leave {asked} on
get_state: is {asked} turned (on|off)
get_state: see if {asked} is (on|off)
get_state: i want to know if {asked} is (on|off)
get_state: how about {asked} is it on
get_state: see if {askmoved} is (open|closed)
get_state: is {askmoved} still open
get_state: i want to know if {askmoved} is (open|closed)
get_state: did somebody close {askmoved}
get_state: who left {asked} on
get_state kind=garage door: do i have to close the garage
get_state kind=door room=front door: (check|see) if the (front door|door) is (locked|open)
get_state kind=door room=front door: can somebody get in is the front door locked
get_state kind=vacuum: where is the vacuum
get_state kind=vacuum: how is the vacuum doing
"""
TURN = """
confirm: (yes|yeah|yep|yup|sure|correct|right|exactly|okay|alright|absolutely)
confirm: (yes please|yes do it|yes do that|yeah sure|yes that one|yes thanks|yes that's right|yes go ahead)
confirm: (do it|do that|please do|of course|go ahead|that's right|that's correct|sounds good|sure thing|why not)
!confirm: (yes absolutely|yeah do it|that is right|by all means)
deny: (no|nope|nah|no thanks|no thank you|no don't|not that|not that one|never mind|forget it)
deny: (don't|don't do that|don't do it|no way|please don't|no stop|cancel|cancel that|no not that one|i don't want that|leave it)
!deny: (no please don't|no never mind|not now|no forget it)
repeat: (repeat|repeat that|say that again|say it again|again please|pardon|pardon me|come again|what was that|once more)
repeat: (what did you say|can you repeat that|could you say that again|i didn't (hear|get|catch|understand) that|tell me again)
!repeat: (sorry what|could you repeat that please|please say that once more)
stop: (stop|stop it|stop that|be quiet|quiet|shut up|hush|enough|that's enough|stop talking|stop please|silence|please be quiet)
!stop: (okay stop|please stop|okay that's enough)
correct: (no|no no|no i meant|i meant|i mean|actually|i said|no i said|sorry|sorry i meant) the {croom}
correct: (no|not|) not the {anyroom} (but|) the {croom}
correct: (no|no i meant|i meant|i said|no i said|actually|sorry i meant) in the {croom}
correct: (no|no i meant|i meant|i mean|actually|i said|no i said) the {ckind}
correct: not the {anykind} (but|) the {ckind}
correct: (no|no i meant|i meant|i mean|i said|no i said) the {croom} {ckind}
correct: (no|no i meant|i meant|i mean|actually|i said|no i said|make that|make it|sorry|no make it) {cvalue}
correct: not {anyvalue} (but|) {cvalue}
correct: (no|no i meant|i meant|i said|make that|no make that|make it) {cvalue} (minutes|percent|degrees)
!correct: (wrong|that was wrong) i meant the {croom}
!correct: (no change that to|change it to|no it's) {cvalue}
!correct: the {croom} i (meant|said)
confirm: (yes of course|yes i do|yes i am|oh yes|okay do it|sure do it|that's it|yes correct|yes exactly|yes sure|yes okay|all right)
deny: (no i don't|no wait|no that's wrong|no leave it|oh no|no forget that|not today|don't bother|no cancel that|stop no)
repeat: (repeat that please|say that one more time|what|sorry|excuse me what|i missed that|tell me that again|what was that again|can you say it again|huh)
stop: (stop now|that is enough|shut it|no more|be silent|stop talking please|stop right there|quiet now|okay enough|you can stop)
correct: it's the {croom}
correct: i wanted the {croom}
correct: i wanted the {ckind}
correct: no it's the {croom}
correct: i said in the {croom}
correct: wrong room the {croom}
correct: wrong one the {ckind}
correct: {cvalue} i said
correct: i wanted {cvalue}
correct: (change|set) it to {cvalue} instead
correct: the {croom} instead
correct: instead the {croom}
repeat: (say what|say that one again|can you say that again|please repeat|repeat please|again|say again|what did you just say)
repeat: (i didn't hear you|i couldn't hear that|could you say it again|would you repeat that|i didn't get it|sorry say that again)
repeat: (please say that again|please repeat that|sorry could you repeat that|what was it|one more time|once again please)
stop: (stop right now|stop now please|okay quiet|please hush|that's enough now|just stop|stop stop|would you stop|you can be quiet)
stop: (enough now|no stop talking|okay enough|please stop talking|please silence|quiet please|be still|stop speaking)
confirm: (yes yes|yeah yeah|yes that's fine|fine|that's fine|okay yes|sure yes|yes i want that|okay go ahead|yeah go on|i agree)
deny: (no no no|no thank you very much|rather not|better not|no i changed my mind|no stop that|please no|nope forget it|no leave that|not really)
"""


def lines(text, tag):
    """(id, words, held out, (tool, fixed arguments)) of each pattern."""
    out = []
    for i, line in enumerate(t for t in text.strip().split("\n") if t):
        head, say = line.lstrip("!").split(": ", 1)
        head, fixed = re.sub(r" (?=\w+=)", "\t", head).split("\t")[0], dict(
            x.split("=") for x in re.sub(r" (?=\w+=)", "\t", head).split("\t")[1:])
        fixed = {k: int(v) if v.isdigit() else v for k, v in fixed.items()}
        out.append((f"{tag}{i}", say, line.startswith("!"), (head, fixed)))
    return out


GROUPS = {"thing": THING, "step": STEP, "color": COLOR, "move": MOVE, "lock": LOCK, "climate": CLIMATE,
          "media": MEDIA, "clock": CLOCK, "alarm": ALARM, "state": STATE, "turn": TURN}

SAID = {"tv": ["tv", "television", "tv"], "radio": ["radio"], "plug": ["plug", "outlet", "socket"],
        "air conditioner": ["air conditioner", "air conditioning", "a c"], "heater": ["heater"], "fan": ["fan"],
        "coffee machine": ["coffee machine", "coffee maker"], "blinds": ["blinds", "shades", "blinds"],
        "curtains": ["curtains"], "window": ["window", "windows"], "garage door": ["garage door"]}
PLACES = [r for r in ROOMS if ROOMS[r][1][0] in ("in the", "on the", "") and r != "desk"]
INDOORS = [r for r in PLACES if r not in ("driveway", "garden", "shed", "porch", "terrace", "patio", "balcony")]


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def place(rng, slots, rooms=PLACES):
    """A room's spoken name and how it joins ("in the kitchen")."""
    room = pick(rng, rooms)
    spoken, preps = ROOMS[room]
    say = pick(rng, spoken)
    slots["room"] = room
    return say, f"{pick(rng, preps)} {say}".strip()


def noun(rng, slots, kinds, rooms=PLACES):
    """ "the fan in the bedroom", "the bedroom fan", "the fan"; fills kind and maybe room."""
    kind = pick(rng, kinds)
    slots["kind"] = kind
    say = pick(rng, SAID[kind])
    if kind == "garage door" or rng.random() < (0.6 if kind == "coffee machine" else 0.35):
        return pick(rng, [f"the {say}", f"the {say}", f"my {say}", say] if rng.random() < 0.3 else [f"the {say}"])
    name, joined = place(rng, slots, rooms)
    if rng.random() < 0.5:
        return f"the {name} {say}"
    return f"the {say} {joined}"


def number(rng, slots, key, low, high):
    n = int(rng.integers(low, high + 1))
    slots[key] = n
    return words(n)


def degrees(rng, slots, always):
    n = int(rng.integers(15, 27)) if rng.random() < 0.6 else int(rng.integers(60, 81)) if rng.random() < 0.8 \
        else int(rng.integers(5, 91))
    slots["degrees"] = n
    return words(n) + (" degrees" if always or rng.random() < 0.6 else "")


def clock(rng, slots):
    """A time of day; am and pm, morning and evening count."""
    hour, r = int(rng.integers(1, 13)), rng.random()
    minute = 0
    if r < 0.4:
        say = words(hour) + pick(rng, ["", "", " o'clock"])
    elif r < 0.62:
        minute = pick(rng, [10, 15, 20, 30, 40, 45, 50])
        say = f"{words(hour)} {words(minute)}"
    elif r < 0.78:
        minute, say = 30, f"{words(hour)} thirty"
    elif r < 0.88:
        minute, say = 30, f"half past {words(hour)}"
    elif r < 0.94:
        minute, say = 15, f"quarter past {words(hour)}"
    else:
        minute, say = 45, f"quarter to {words(hour)}"
        hour = hour - 1 or 12
    r = rng.random()
    if r < 0.2:
        say, hour = say + pick(rng, [" a m", " in the morning"]), hour % 12
    elif r < 0.38:
        say, hour = say + pick(rng, [" p m", " in the evening" if 5 <= hour <= 11 else " in the afternoon"]), \
            hour % 12 + 12
    slots["hour"] = hour
    if minute:
        slots["minute"] = minute
    return say


def day(rng, slots, always):
    if not always and rng.random() < 0.6:
        return ""
    d = pick(rng, ["today", "tomorrow", "tomorrow", "tomorrow"] + DAYS[2:])
    slots["day"] = d
    return d if d in ("today", "tomorrow") else "on " + d


def coffee(rng, held):
    """An order: (words, slots). The parts before the drink come in any order, milk and sugar too."""
    slots, said = {}, []
    parts = [p for p in (("size", SIZES), ("roast", ROASTS), ("numberOfShots", SHOTS)) if rng.random() < 0.45]
    for i in rng.permutation(len(parts)):
        key, values = parts[int(i)]
        slots[key] = pick(rng, values)
        said.append(slots[key])
    slots["coffeeDrink"] = pick(rng, DRINKS)
    said.append(slots["coffeeDrink"])
    extras = []
    for key, kinds in (("milkAmount", MILKS), ("sugarAmount", SUGARS)):
        if rng.random() < 0.48:
            slots[key] = (pick(rng, AMOUNTS[1:]) if rng.random() < 0.5 else "") + pick(rng, kinds)
            extras.append(slots[key])
    if len(extras) == 2 and rng.random() < 0.5:
        extras.reverse()
    if held:
        verb = pick(rng, ["could you brew me", "i'll take", "i'll have", "could i order"])
    else:
        verb = pick(rng, ["brew", "can i get", "can i have", "i want", "get me", "give me", "i'd like", "make me",
                          "may i have", "brew", "can i get", "can i have", "i want", "get me", "give me", "i'd like",
                          "make me", "may i have", "make", "i would like", "please make me", "could i have",
                          "i need", "could i get", "let me have", "brew me", "can you make me", "",
                          "i could use", "could you make me", "can you get me", "i would love", "get", "i'm having",
                          "i want to have", "please brew", "one", "how about", "i'd love"])
    article = "an" if said[0][0] in "aei" else "a"
    if verb == "one":
        article = ""
    text = f"{verb} {article if rng.random() < 0.85 else ''} {' '.join(said)}"
    if extras:
        text += " " + pick(rng, ["with", "with", "with", "with", "and"] if len(extras) == 1 else ["with"]) + " "
        text += pick(rng, [" and ", " and ", " and ", " and with ", " "]).join(extras)
    return text, slots


def slot(rng, slots, key, light, pct):
    """Words of one slot. `light` and `pct` are the functions of `sentences.py` for theirs."""
    if key == "light":
        return light(rng, slots)
    if key == "pct":
        say, slots["percent"] = pct(rng)
        return say
    if key == "thing":
        return noun(rng, slots, SWITCHED)
    if key == "moved":
        return noun(rng, slots, MOVED)
    if key == "cover":
        return noun(rng, slots, ["blinds", "curtains"])
    if key == "asked":
        return light(rng, slots) if rng.random() < 0.4 else noun(rng, slots, SWITCHED)
    if key == "askmoved":
        return noun(rng, slots, ["window", "garage door", "window"])
    if key == "in":
        return place(rng, slots)[1] if rng.random() < 0.35 else ""
    if key == "in1":
        slots["kind"] = "lights"
        return place(rng, slots)[1]
    if key == "in2":
        return place(rng, slots, INDOORS)[1]
    if key == "inhere":
        return pick(rng, ["in here", "", "in here"]) if rng.random() < 0.45 else place(rng, slots, INDOORS)[1]
    if key == "room":
        return place(rng, slots, [r for r in INDOORS if r not in ("upstairs", "downstairs")])[0]
    if key in ("croom", "anyroom"):
        got = slots if key == "croom" else {}
        return place(rng, got, [r for r in ROOMS if r not in ("upstairs", "downstairs")])[0]
    if key in ("ckind", "anykind"):
        kind = pick(rng, ["light", "lamp", "lights"] + SWITCHED + MOVED)
        if key == "ckind":
            slots["kind"] = kind
        return pick(rng, SAID.get(kind, [kind]))
    if key == "cvalue":
        return number(rng, slots, "value", 1, 100)
    if key == "anyvalue":
        return number(rng, {}, "value", 1, 100)
    if key == "deg":
        return degrees(rng, slots, False)
    if key == "degs":
        return degrees(rng, slots, True)
    if key == "color":
        slots["color"] = pick(rng, COLORS)
        return slots["color"]
    if key == "scene":
        slots["scene"] = pick(rng, SCENES)
        return slots["scene"]
    if key == "clock":
        return clock(rng, slots)
    if key in ("day", "dayfirst"):
        return day(rng, slots, key == "dayfirst")
    if key == "mins":
        n = pick(rng, [2, 3, 5, 8, 10, 12, 15, 20, 25, 30])
        slots["minutes"] = n
        return words(n) + " minutes"
    if key == "more":
        slots["minutes"] = pick(rng, [2, 3, 5, 10, 15, 20])
        return words(slots["minutes"])
    raise KeyError(key)
